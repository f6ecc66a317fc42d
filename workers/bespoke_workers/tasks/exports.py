"""The tasks of the exports."""

from typing import Any

from bespoke_schemas import Payload, exports
from bespoke_workers.app import serves
from bespoke_workers.configuration import EXPORT_SECONDS
from bespoke_workers.errors import Transient
from bespoke_workers.runtime import Runtime
from bespoke_workers.tasks.telling import to_watchers


@serves(exports.ExportPrograms, seconds=EXPORT_SECONDS)
async def export_programs(payload: exports.ExportPrograms, this: Runtime) -> exports.Exported:
    """Write versions of programs to a bundle."""
    return await this.bundles.export(payload, to_watchers(this, payload))


@serves(exports.ImportPrograms, seconds=EXPORT_SECONDS)
async def import_programs(payload: exports.ImportPrograms, this: Runtime) -> exports.Imported:
    """Import a bundle's versions."""
    return await this.bundles.import_(payload, to_watchers(this, payload))


@serves(exports.ExportUser, seconds=EXPORT_SECONDS)
async def export_user(payload: exports.ExportUser, this: Runtime) -> exports.UserExported:
    """Write all that there is of a user to a bundle."""
    return await this.user_exporting.export(payload)


@serves(exports.ImportUser, seconds=EXPORT_SECONDS)
async def import_user(payload: exports.ImportUser, this: Runtime) -> exports.UserImported:
    """Bring a user's bundle in."""
    return await this.user_importing.import_(payload)


@serves(exports.EraseUser, seconds=EXPORT_SECONDS)
async def erase_user(payload: exports.EraseUser, this: Runtime) -> exports.Erased | None:
    """Erase a user; a long erasure goes back to the end of its queue between slices."""
    erased = await this.erasing.erase(payload, to_watchers(this, payload))
    if erased is None:
        _go_on(this, payload)
    return erased


def _go_on(this: Runtime, payload: Payload[Any]) -> None:
    """Send the payload again. If that fails, the message at hand stays and is tried again."""
    try:
        this.outbox.enqueue(payload)
    except Exception as error:  # noqa: BLE001  # whichever way the broker fails
        raise Transient(f"the broker failed: {type(error).__name__}") from None
