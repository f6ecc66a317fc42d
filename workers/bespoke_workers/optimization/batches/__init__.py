"""A whole tier, night after night: planned, held, budgeted, told."""
