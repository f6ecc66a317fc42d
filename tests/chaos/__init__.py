"""Things are killed on purpose."""
