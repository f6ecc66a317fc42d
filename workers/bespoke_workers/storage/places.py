"""The storage URL: names under it and nothing else."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from fsspec.core import url_to_fs

from bespoke_workers.errors import Misconfigured, Refused

NAME_LIMIT = 500  # characters of a name, folders included
PART_LIMIT = 200  # bytes of one folder's or file's name; file systems hold 255, a suffix included
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs"})
"""Protocols of stores that show a file when its upload is complete, and where a folder is none."""
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""Protocols, and the extra of this distribution that each of them needs."""
# Beside control characters: what file systems take for patterns, versions and protocols.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\:?#*\[\]]")


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

    def names(self, folder: str = "") -> list[str]:
        """Return the names of all files, or of those in a folder; it blocks: call it in threads."""
        files, root = self._opened
        prefix = str(files._strip_protocol(root)).rstrip("/") + "/"
        files.invalidate_cache()  # object stores keep listings
        found = files.find(f"{root.rstrip('/')}/{folder}" if folder else root)
        return sorted(path[len(prefix) :] for path in found if path.startswith(prefix))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there, and the folders that are empty without it."""
        files, root = self._opened
        path = f"{root.rstrip('/')}/{name}"
        with suppress(FileNotFoundError):
            files.rm_file(path)
        folder = name.rpartition("/")[0]
        while folder:
            try:
                files.rmdir(f"{root.rstrip('/')}/{folder}")
            except Exception:  # noqa: BLE001  # it is not empty, or the storage has no folders
                return
            folder = folder.rpartition("/")[0]

    @property
    def is_object_store(self) -> bool:
        """Whether a file shows only when it is whole, and there are no folders to make."""
        return not OBJECT_STORES.isdisjoint(_protocols(self.files))

    def check_within(self, place: Place) -> None:
        """Raise Refused if a link leads from the place out of the storage, or it is no file.

        Only a directory of this machine has links. It blocks.
        """
        files, root = self._opened
        if "file" not in _protocols(files):
            return
        path, inside = Path(place.path), os.path.realpath(root)
        if os.path.commonpath([inside, os.path.realpath(path)]) != inside:
            raise Refused(f"{place.url!r} leads out of the storage; give a file that lies in it")
        if path.exists() and not path.is_file():
            raise Refused(f"{place.url!r} is no file; give the name of one")

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
                f"{_missing(self._url, error)}"
            ) from None
        except Exception as error:
            raise Misconfigured(
                f"BESPOKE_STORAGE_URL: fsspec refuses this {_scheme(self._url)} URL "
                f"({type(error).__name__}); set it to one like file:///var/lib/bespoke"
            ) from error
        return files, str(root)


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
        or any(part in {"", ".", ".."} or len(part.encode()) > PART_LIMIT for part in parts)
        or _FORBIDDEN.search(name)
    ):
        raise Refused(
            f"{without_userinfo(name)[:120]!r} is no name under the storage URL; give one like "
            "'name.jsonl.gz' or 'backups/name.jsonl.gz'"
        )


def _missing(url: str, error: ImportError) -> str:
    extra = EXTRAS.get(urlsplit(url).scheme)
    if extra is not None:
        return f"install bespoke-workers[{extra}]"
    return " ".join(str(error).split())[:200]


def _protocols(files: Any) -> tuple[str, ...]:
    names = files.protocol
    return (names,) if isinstance(names, str) else tuple(names)


def _scheme(url: str) -> str:
    return repr(urlsplit(url).scheme or "file")
