"""What a user's program learns from."""
