"""Real worker processes and the real command line."""
