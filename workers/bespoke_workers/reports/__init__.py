"""A page about one program: how its versions score, what they cost, and which are in use."""
