"""Payloads of the exports: what leaves the system in one file, and comes back."""

from bespoke_schemas.exports.bundles import Exported, ExportPrograms, Imported, ImportPrograms

__all__ = ["ExportPrograms", "Exported", "ImportPrograms", "Imported"]
