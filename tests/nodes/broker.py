"""A broker node that is a server on this machine."""

from pytest_celery import CeleryTestBroker


class ProcessBroker(CeleryTestBroker):  # type: ignore[misc]  # pytest-celery ships no types
    """Made with a ServerContainer."""
