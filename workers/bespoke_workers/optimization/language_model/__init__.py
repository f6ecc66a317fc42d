"""How a run calls its language model: paced, cached, counted and priced."""
