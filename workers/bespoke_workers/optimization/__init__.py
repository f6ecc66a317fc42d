"""Tiers, optimizers, one user's run, leases and batches."""
