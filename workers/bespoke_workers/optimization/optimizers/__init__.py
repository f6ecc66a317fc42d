"""The optimizers, each built fresh for one run."""
