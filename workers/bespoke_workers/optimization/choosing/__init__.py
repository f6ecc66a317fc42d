"""Which optimizer a user gets: by name, by tier, or by climbing a ladder."""
