"""What tests with real servers share beside the servers themselves."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.bundles import Side, side
from tests.integration.stores import opened

__all__ = ["opened"]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop for tests that are not coroutines themselves."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def here(database_url: str, tmp_path: Path, runner: asyncio.Runner) -> Iterator[Side]:
    """An installation whose programs are exported, and imported, to and from `tmp_path`."""
    with side(database_url, tmp_path, runner) as made:
        yield made


@pytest.fixture
def there(other_database_url: str, tmp_path: Path, runner: asyncio.Runner) -> Iterator[Side]:
    """Another installation, with the same storage."""
    with side(other_database_url, tmp_path, runner) as made:
        yield made


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A directory where files of memories lie."""
    directory = tmp_path / "storage"
    directory.mkdir()
    return directory
