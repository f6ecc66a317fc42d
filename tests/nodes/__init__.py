"""Broker, backend and worker nodes for pytest-celery that are processes, not Docker containers.

See README.md. Nothing here knows the application under test.
"""
