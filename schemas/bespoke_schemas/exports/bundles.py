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

    Selects by id, user and program; with none of them, every version. Checkpoints are left out
    unless they are named by id or ``checkpoints`` asks for them. ``name`` is a file name relative
    to the storage URL; without it the bundle is named after this job. Refused if a file is there
    under that name, unless ``overwrite``.
    """

    program_ids: Annotated[tuple[UUID, ...], Field(max_length=100_000)] = ()
    user_id: UserId | None = None
    program: Name | None = None
    name: Text | None = None
    checkpoints: bool = False
    overwrite: bool = False


class Imported(Result):
    """How many versions were imported, how many were there already, how many came into use.

    After a dry run, what an import would have done.
    """

    imported: int
    unchanged: int
    program_ids: tuple[UUID, ...]
    activated: int = 0
    dry_run: bool = False


class ImportPrograms(Payload[Imported], queue=Queue.EXPORTS):
    """Import a bundle's versions, all or none; ids are kept, and twice is as once.

    ``url`` is a bundle's name relative to the storage URL, or a URL under it. ``activate`` puts
    into use what was in use where the bundle comes from. ``users`` gives users other ids; those
    that it does not name keep theirs, or are refused with ``only_mapped``. Shared versions stay
    shared. ``dry_run`` checks all and writes nothing.
    """

    url: Text
    activate: bool = False
    users: Annotated[dict[UserId, UserId], Field(max_length=10_000)] = Field(default_factory=dict)
    only_mapped: bool = False
    dry_run: bool = False
