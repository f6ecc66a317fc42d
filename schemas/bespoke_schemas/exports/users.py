"""Payloads about all that there is of one user: taken out, brought in, erased."""

import hashlib

from bespoke_schemas.fields import Text, UserId
from bespoke_schemas.payload import Payload, Result
from bespoke_schemas.queues import Queue


class UserExported(Result):
    """Where a user's bundle lies, what is in it by section, its size and its checksum."""

    url: str
    sections: dict[str, int]
    size_bytes: int
    sha256: str


class ExportUser(Payload[UserExported], queue=Queue.EXPORTS):
    """Write all that there is of a user to one bundle under the storage URL.

    ``name`` is a file name relative to the storage URL; without it the bundle lies in the user's
    own folder and is named after this job.
    """

    user_id: UserId
    name: Text | None = None


class Erased(Result):
    """What was erased, in counts: rows by table, messages, results, files and lines of files.

    ``unread_files`` lie under the storage URL and are nothing that Bespoke wrote, or damaged.
    """

    erased: dict[str, int]
    unread_files: int = 0


class EraseUser(Payload[Erased], queue=Queue.EXPORTS):
    """Erase all that there is of a user: for good, wherever it is.

    What was enqueued for the user before the erasure has answered has no effect any more; the
    user may begin anew with what is enqueued after that.
    """

    user_id: UserId

    def subject(self) -> str:
        """Return a hash of the user's id: the record of this job is what remains."""
        return hashlib.sha256(self.user_id.encode()).hexdigest()


class UserImported(Result):
    """What was imported, by section; ``unchanged`` if this bundle had been imported before.

    ``memories`` is how many the user has then, in the limits of their policy. ``spaces`` are the
    shared spaces that the user had joined: a bundle opens none of them.
    """

    sections: dict[str, int]
    sha256: str
    memories: int = 0
    spaces: tuple[str, ...] = ()
    unchanged: bool = False


class ImportUser(Payload[UserImported], queue=Queue.EXPORTS):
    """Bring a user's bundle in, all of it or nothing, for a user of whom there is nothing yet.

    ``url`` is a bundle's name relative to the storage URL, or a URL under it. The same bundle
    twice is as once. A bundle of another user is refused, unless ``rename_user`` takes it over,
    under new ids.
    """

    user_id: UserId
    url: Text
    rename_user: bool = False
