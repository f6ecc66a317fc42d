"""Tiers: which optimizer suits how many examples. Data, and nothing that does anything."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bespoke_schemas.optimization import NO_TIER, Choice, Tier
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.settings import Settings

FEWEST_EXAMPLES: Final = 4
"""With fewer, one side of the split would be a single example, whatever tier was asked for."""
MOST_EXAMPLES: Final = 1_000_000_000  # that a tier may begin with; more do not fit a column
MOST_BANDS: Final = 20  # each is a batch of its own every night, for every program

_FORM: Final = (
    "give standard, recommended, or a table such as "
    '[{"tier": "few", "from": 10, "optimizer": "LabeledFewShot", "options": {"k": 8}}]'
)


@dataclass(frozen=True)
class Band:
    """A tier, the fewest examples it begins with, and the optimizer that it stands for."""

    tier: Tier
    fewest: int
    optimizer: Choice | None
    options: dict[str, Any] = field(default_factory=dict)


class Table:
    """The tiers of an installation, from the fewest examples up."""

    def __init__(self, bands: Sequence[Band]) -> None:
        """``bands`` ascend; what is below the first of them optimizes nothing."""
        below = [] if bands[0].fewest == 0 else [Band(NO_TIER, 0, None)]
        self._bands = (*below, *bands)
        self._known = {NO_TIER: Band(NO_TIER, 0, None)} | {band.tier: band for band in self._bands}

    @classmethod
    def from_settings(cls, settings: Settings) -> "Table":
        """Return the table that is set; raises Misconfigured naming what is wrong with it."""
        chosen = settings.tiers.strip()
        if chosen == "recommended" and settings.finetune_provider is not None:
            return FINETUNING
        return TABLES[chosen] if chosen in TABLES else cls(_own(chosen))

    @property
    def bands(self) -> tuple[Band, ...]:
        """All tiers by number of examples."""
        return self._bands

    @property
    def optimized(self) -> tuple[Tier, ...]:
        """The names of the tiers that optimize something."""
        return tuple(band.tier for band in self._bands if band.optimizer is not None)

    @property
    def names(self) -> tuple[Tier, ...]:
        """The names of all tiers that a user may be given."""
        return tuple(self._known)

    def tier_for(self, examples: int, by_hand: Tier | None = None) -> Tier:
        """Return the tier of a user who has this many examples, unless one was given by hand.

        One given by hand that is in the table no longer counts as none.
        """
        if by_hand in self._known:
            return by_hand
        return next(band.tier for band in reversed(self._bands) if examples >= band.fewest)

    def band(self, tier: Tier) -> Band:
        """Return a tier; raises Refused, with the tiers there are, if it is unknown."""
        try:
            return self._known[tier]
        except KeyError:
            raise Refused(
                f"unknown tier {tier!r}; BESPOKE_TIERS has {', '.join(self._known)}"
            ) from None

    def bounds(self, tier: Tier) -> tuple[int, int | None]:
        """Return the fewest examples of a tier and the fewest of the next one.

        None after the last. No tier that optimizes begins below what can be split.
        """
        place = next(place for place, band in enumerate(self._bands) if band.tier == tier)
        after = self._bands[place + 1 :]
        band = self._bands[place]
        least = 0 if band.optimizer is None else FEWEST_EXAMPLES
        return max(band.fewest, least), after[0].fewest if after else None

    def fewest_for(self, by_hand: Tier | None) -> int | None:
        """Return the fewest examples with which a user is optimized; None if never.

        ``by_hand`` is the tier that the user was given.
        """
        given = self._known.get(by_hand) if by_hand is not None else None
        if given is None:
            return self.first_optimized()
        return None if given.optimizer is None else FEWEST_EXAMPLES

    def first_optimized(self) -> int:
        """Return the number of examples from which on something is optimized."""
        return next(self.bounds(tier)[0] for tier in self.optimized)


class _Entry(BaseModel):
    """One entry of a table of one's own."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    tier: Tier
    fewest: Annotated[int, Field(alias="from", ge=0, le=MOST_EXAMPLES)]
    optimizer: Choice | None = None
    options: dict[str, Any] = Field(default_factory=dict)


_ENTRIES: Final = TypeAdapter(Annotated[list[_Entry], Field(min_length=1, max_length=MOST_BANDS)])


def _own(text: str) -> list[Band]:
    try:
        entries = _ENTRIES.validate_python(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise _wrong(f"{_place(first['loc'])}{first['msg']}") from None
    except ValueError:
        raise Misconfigured(f"BESPOKE_TIERS: got neither a name nor JSON; {_FORM}") from None
    bands = [Band(one.tier, one.fewest, one.optimizer, one.options) for one in entries]
    _check(bands)
    return bands


def _place(where: Sequence[int | str]) -> str:
    if not where:
        return ""
    number, *names = where
    entry = f"entry {int(number) + 1}" if isinstance(number, int) else str(number)
    return f"{' '.join([entry, *map(repr, names)])}: "


def _check(bands: Sequence[Band]) -> None:
    names = [band.tier for band in bands]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _wrong(f"tier {twice!r} is there twice")
    for before, band in pairwise(bands):
        if band.fewest <= before.fewest:
            raise _wrong(f"tier {band.tier!r} does not begin above {before.tier!r}")
    for place, band in enumerate(bands):
        if band.tier == NO_TIER and (place > 0 or band.fewest > 0 or band.optimizer is not None):
            raise _wrong(f"tier {NO_TIER!r} begins at 0 and has no optimizer")
        if band.options and band.optimizer is None:
            raise _wrong(f"tier {band.tier!r} has options and no optimizer")
    if all(band.optimizer is None for band in bands):
        raise _wrong("no tier has an optimizer")


def _wrong(what: str) -> Misconfigured:
    return Misconfigured(f"BESPOKE_TIERS: {what}; {_FORM}")


STANDARD: Final = Table(
    [
        Band("basic", 10, "LabeledFewShot"),
        Band("advanced", 50, "BootstrapFewShot"),
        Band("premium", 200, "MIPROv2"),
    ]
)
RECOMMENDED: Final = Table(
    [
        Band("starting", FEWEST_EXAMPLES, "LabeledFewShot"),
        Band("basic", 10, "BootstrapFewShot"),
        Band("advanced", 50, "BootstrapFewShotWithRandomSearch"),
        Band("premium", 200, "MIPROv2", {"auto": "medium"}),
    ]
)
FINETUNING: Final = Table([*RECOMMENDED.bands[1:], Band("finetuned", 500, "BootstrapFinetune")])
"""The recommended one where somebody trains models: a model of one's own wants many examples."""
TABLES: Final = {"standard": STANDARD, "recommended": RECOMMENDED}
