"""What can be optimized, the library of its saved versions, and ``for_user``, which serves them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bespoke_workers.programs.serving import afor_user, for_user
    from bespoke_workers.programs.whole import load_whole

__all__ = ["afor_user", "for_user", "load_whole"]


def __getattr__(name: str) -> Any:
    # Imported at first use: whoever registers a program needs no database.
    if name == "load_whole":
        from bespoke_workers.programs.whole import load_whole

        return load_whole
    if name in __all__:
        from bespoke_workers.programs import serving

        return getattr(serving, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
