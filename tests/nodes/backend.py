"""A result backend node that is a server on this machine."""

from pytest_celery import CeleryTestBackend


class ProcessBackend(CeleryTestBackend):  # type: ignore[misc]  # pytest-celery ships no types
    """Made with a ServerContainer."""
