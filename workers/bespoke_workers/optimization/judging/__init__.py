"""How good a program is, and whether one is better than another by more than luck."""
