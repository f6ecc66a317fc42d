"""The tasks of the exports."""

from bespoke_schemas import exports
from bespoke_workers.app import EXPORT_SECONDS, serves
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
