"""What tests with real servers share beside the servers themselves."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.integration.stores import opened

__all__ = ["opened"]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop for tests that are not coroutines themselves."""
    with asyncio.Runner() as runner:
        yield runner
