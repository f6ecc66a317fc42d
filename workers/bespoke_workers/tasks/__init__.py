"""Thin adapters between the queue and the services, one file for each file of the schemas."""
