"""What can be optimized, and the library of its saved versions."""
