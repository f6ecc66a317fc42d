"""Files of the storage that one transaction at a time replaces, on whichever machine."""

from sqlalchemy import Text, bindparam, text

from bespoke_workers.database.direct import Connection

_OF_FILES = 0x6669_6C65  # any constant: other locks of this kind are none of files

_HOLD = text(f"SELECT pg_advisory_xact_lock({_OF_FILES}, hashtext(:path))").bindparams(
    bindparam("path", type_=Text())
)


async def hold_file(connection: Connection, path: str) -> None:
    """Let nobody else replace or rewrite a file until the connection's transaction ends.

    Whoever gives a file a name that others may give too holds it from looking at what is there
    to the end; the name of a file that is one job's alone need not be held.
    """
    await connection.execute(_HOLD, {"path": path})
