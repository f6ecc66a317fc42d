"""Payloads of the programs: immutable versions, and the pointer to the one in use."""

from bespoke_schemas.programs.loading import Best, Load, LoadActive, Loaded
from bespoke_schemas.programs.saving import Save, Saved
from bespoke_schemas.programs.versions import Version

__all__ = ["Best", "Load", "LoadActive", "Loaded", "Save", "Saved", "Version"]
