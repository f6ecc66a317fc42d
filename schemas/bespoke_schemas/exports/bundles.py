"""Payloads of bundles: versions of programs in one file, there and back."""

from typing import Annotated
from uuid import UUID

from pydantic import Field

from bespoke_schemas.fields import Name, Text, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class Exported(Result):
    """Where the bundle lies, how many versions are in it, its size and its checksum."""

    url: str
    count: int
    size_bytes: int
    sha256: str


class ExportPrograms(Payload[Exported], queue=Queue.EXPORTS):
    """Write versions of programs to a bundle under the storage URL.

    Selects by id, user and program; with none of them, every version. ``name`` is a file
    name relative to the storage URL; without it the bundle is named after this job.
    """

    program_ids: Annotated[tuple[UUID, ...], Field(max_length=100_000)] = ()
    user_id: UserId | None = None
    program: Name | None = None
    name: Text | None = None


class Imported(Result):
    """How many versions were imported and how many were there already."""

    imported: int
    unchanged: int
    program_ids: tuple[UUID, ...]


class ImportPrograms(Payload[Imported], queue=Queue.EXPORTS):
    """Import a bundle's versions, all or none; ids are kept, and twice is as once.

    ``url`` is a bundle's name relative to the storage URL, or a URL under it.
    """

    url: Text
    activate: bool = False
