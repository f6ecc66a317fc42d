"""The seal of a whole program: nothing is unpickled that this system did not write itself.

It is an HMAC-SHA256, under a key that only workers have, over everything that says what a file
is and over the file. Whoever can write to the storage, or to the database, but does not have
the key can make no file that passes.
"""

import hashlib
import hmac
import json
from typing import Final

from bespoke_workers.database.tables import WholeProgram
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.settings import Settings

DOMAIN: Final = b"bespoke whole program 1\n"
"""A key that is used for something else too signs nothing that would pass here."""


def key(settings: Settings) -> bytes:
    """Return the signing key; raises Misconfigured where none is set."""
    if settings.signing_key is None:
        raise Misconfigured(
            "BESPOKE_SIGNING_KEY is not set, and whole programs are signed; set it to what "
            "`openssl rand -hex 32` prints, the same for every worker"
        )
    return settings.signing_key.get_secret_value().encode()


def seal(row: WholeProgram, content: bytes, signing_key: bytes) -> str:
    """Return the seal of a file as it is described by ``row``."""
    described = json.dumps(
        {
            "id": str(row.id),
            "user_id": row.user_id,
            "program": row.program,
            "version_id": str(row.version_id),
            "base_id": str(row.base_id),
            "versions": row.versions,
            "size_bytes": len(content),
        },
        sort_keys=True,
    )
    signed = hmac.new(signing_key, DOMAIN, hashlib.sha256)
    signed.update(described.encode() + b"\n")
    signed.update(content)
    return signed.hexdigest()


def check(row: WholeProgram, content: bytes, signing_key: bytes) -> None:
    """Raise Refused unless the file is what was written under this row with this key."""
    expected = seal(row, content, signing_key)
    if not hmac.compare_digest(expected.encode(), row.seal.encode()):
        raise Refused(
            f"the whole program {row.id} is not as this system wrote it, or was signed with "
            "another BESPOKE_SIGNING_KEY; it was not loaded: save it again"
        )
