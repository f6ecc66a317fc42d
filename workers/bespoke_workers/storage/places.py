"""The storage URL: names under it and nothing else, its failures as ours."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fsspec.core import url_to_fs

from bespoke_workers.errors import BespokeError, Misconfigured, Refused, Transient

NAME_LIMIT = 500  # characters of a name, folders included
PART_LIMIT = 200  # characters of one folder's or file's name; file systems hold 255 bytes
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Place:
    """A file in the storage: ``url`` to tell, ``path`` for the file system."""

    url: str
    path: str


class Storage:
    """Files under one fsspec URL."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._public = without_userinfo(self._url)

    def place(self, name: str) -> Place:
        """Return where ``name`` lies: a name relative to the storage URL, or a URL under it.

        Raises Refused for a name that is empty, too long, or leads out of the storage.
        """
        relative = name
        for prefix in (self._url, self._public):
            if name.startswith(prefix + "/"):
                relative = name[len(prefix) + 1 :]
        _check(relative)
        _, root = self._opened
        return Place(f"{self._public}/{relative}", f"{root.rstrip('/')}/{relative}")

    @property
    def files(self) -> Any:
        """The fsspec file system; it blocks, so it is used from threads."""
        return self._opened[0]

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            files, root = url_to_fs(self._url)
        except ImportError as error:
            raise Misconfigured(
                f"BESPOKE_STORAGE_URL: {_scheme(self._url)} needs a package that is missing: "
                f"{' '.join(str(error).split())[:200]}"
            ) from None
        except Exception as error:
            raise Misconfigured(
                f"BESPOKE_STORAGE_URL: fsspec refuses this {_scheme(self._url)} URL "
                f"({type(error).__name__}); set it to one like file:///var/lib/bespoke"
            ) from error
        return files, str(root)


@contextmanager
def translated(place: Place, noun: str) -> Iterator[None]:
    """Raise the storage's failures as ours, before they look like the database's.

    ``noun`` is what the file is called, such as "bundle".
    """
    try:
        yield
    except BespokeError:
        raise
    except FileNotFoundError:
        raise Refused(f"no {noun} at {place.url!r}; export one, or correct the name") from None
    except (IsADirectoryError, NotADirectoryError):
        raise Refused(f"{place.url!r} is no file; give the name of one") from None
    except PermissionError:
        raise Misconfigured(
            f"BESPOKE_STORAGE_URL: the storage forbids the access to {place.url!r}; "
            "correct the rights or the credentials"
        ) from None
    except OSError as error:
        raise Transient(f"the storage failed: {type(error).__name__}") from error


def without_userinfo(url: str) -> str:
    """Return a URL without user and password."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _check(name: str) -> None:
    parts = name.split("/")
    if (
        len(name) > NAME_LIMIT
        or any(part in {"", ".", ".."} or len(part) > PART_LIMIT for part in parts)
        or "\\" in name
        or ":" in name
        or _CONTROL.search(name)
    ):
        raise Refused(
            f"{without_userinfo(name)[:120]!r} is no name under the storage URL; give one like "
            "'name.jsonl.gz' or 'backups/name.jsonl.gz'"
        )


def _scheme(url: str) -> str:
    return repr(urlsplit(url).scheme or "file")
