"""Payloads of the exports: what leaves the system in one file, and comes back."""

from bespoke_schemas.exports.bundles import Exported, ExportPrograms, Imported, ImportPrograms
from bespoke_schemas.exports.users import (
    Erased,
    EraseUser,
    ExportUser,
    ImportUser,
    UserExported,
    UserImported,
)

__all__ = [
    "EraseUser",
    "Erased",
    "ExportPrograms",
    "ExportUser",
    "Exported",
    "ImportPrograms",
    "ImportUser",
    "Imported",
    "UserExported",
    "UserImported",
]
