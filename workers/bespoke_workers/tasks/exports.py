"""The tasks of the exports."""

from bespoke_schemas import exports
from bespoke_workers.app import serves
from bespoke_workers.runtime import Runtime


@serves(exports.ExportPrograms)
async def export_programs(payload: exports.ExportPrograms, this: Runtime) -> exports.Exported:
    """Write versions of programs to a bundle."""
    return await this.bundles.export(payload)


@serves(exports.ImportPrograms)
async def import_programs(payload: exports.ImportPrograms, this: Runtime) -> exports.Imported:
    """Import a bundle's versions."""
    return await this.bundles.import_(payload)
