"""Whether what stands where an optimizer is named takes its options."""

from collections.abc import Mapping
from typing import Any

from bespoke_schemas.optimization import AUTO, Choice
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.optimization.choosing import ladder, options
from bespoke_workers.optimization.choosing.tiers import Table


def check(choice: Choice, given: Mapping[str, Any]) -> None:
    """Raise Refused unless the optimizer, or ``auto``, takes these options."""
    if choice == AUTO:
        ladder.check(given)
    else:
        options.check(choice, given)


def check_table(table: Table) -> None:
    """Raise Misconfigured unless each optimizer of an own table takes its options."""
    for band in table.bands:
        try:
            if band.optimizer is not None:
                check(band.optimizer, band.options)
        except Refused as refused:
            raise Misconfigured(f"BESPOKE_TIERS: tier {band.tier!r}: {refused}") from None
