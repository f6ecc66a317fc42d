"""``auto``: optimizers tried from the cheapest up, until money or gain runs out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bespoke_schemas.optimization import Candidate, Optimizer
from bespoke_workers.errors import Misconfigured, Permanent, Refused
from bespoke_workers.optimization.choosing.ladder import PATIENCE, Ladder, Rung, roughly
from bespoke_workers.optimization.judging.comparison import Comparison, Score, compare, leads, mean
from bespoke_workers.optimization.judging.judging import Judge, Trial
from bespoke_workers.optimization.language_model.lm_cache import JobCache
from bespoke_workers.optimization.language_model.usage import Spent
from bespoke_workers.optimization.stopping import OutOfBudget, Stop, Stopped
from bespoke_workers.patience import CALL_SECONDS

IN_USE: Final = "in use"
BASE: Final = "base"


@dataclass(frozen=True)
class Tried:
    """A program with its scores, and what it added to the cost. ``trial`` made it, if any did."""

    name: str
    scores: list[Score]
    cost: Spent
    trial: Trial | None = None

    @property
    def candidate(self) -> Candidate:
        """What the result tells of it."""
        return Candidate(
            name=self.name,
            score=round(mean(self.scores) or 0.0, 6),
            lm_calls=self.cost.lm_calls,
            prompt_tokens=self.cost.prompt_tokens,
            completion_tokens=self.cost.completion_tokens,
            cost_usd=round(self.cost.cost_usd, 6),
        )


@dataclass(frozen=True)
class Climbed:
    """What a climb chose. ``optimizer`` is None where that is a program that was there before."""

    module: Any
    optimizer: Optimizer | None
    comparison: Comparison
    candidates: tuple[Candidate, ...]
    told: str


class Climb:
    """Tries rung after rung, and keeps the best: whatever is ahead stays so within the noise."""

    def __init__(self, ladder: Ladder, judge: Judge, cache: JobCache, stop: Stop) -> None:
        self._ladder = ladder
        self._judge = judge
        self._cache = cache
        self._stop = stop
        self._tried: list[Tried] = []
        self._failed: dict[str, Permanent] = {}
        self._limit(0)

    def climb(self, in_use: Any, base: Any | None) -> Climbed:
        """Score what is ``in_use``, and the ``base`` program where it is another; then climb.

        Raises Refused where no rung came to anything, OutOfBudget where not even what is in use
        could be scored.
        """
        lead, why = self._begin(in_use, base), "all rungs tried"
        in_vain = 0
        for rung in self._ladder.rungs:
            stands_against = self._against(rung, lead.scores, in_vain)
            if stands_against is not None:
                why = f"{rung.optimizer} not tried: {stands_against}"
                break
            try:
                tried = self._try(rung)
            except (Refused, Misconfigured) as error:
                self._failed[rung.optimizer] = error
                continue
            if tried is None:
                why = f"the budget ended within {rung.optimizer}"
                break
            self._tried.append(tried)
            ahead = leads(lead.scores, tried.scores)
            lead, in_vain = (tried, 0) if ahead else (lead, in_vain + 1)
        return self._chosen(lead, in_use if base is None else base, why)

    def _begin(self, in_use: Any, base: Any | None) -> Tried:
        """Score what is there already; return what is ahead at first."""
        name = BASE if base is None else IN_USE
        try:
            lead = self._scored(name, in_use)
            if base is not None:
                other = self._scored(BASE, base)
                lead = other if leads(lead.scores, other.scores) else lead
        except Stopped:
            if self._stop.reason is not None:
                raise
            raise OutOfBudget(
                "stopped: the budget of auto does not even suffice to score the program in use on "
                f"{self._judge.judged} examples; raise max_lm_calls or max_usd, or "
                "BESPOKE_OPTIMIZATION_LM_CALLS"
            ) from None
        return lead

    def _scored(self, name: str, module: Any) -> Tried:
        before = self._cache.used
        scores = self._judge.scored(module, f"scoring: {name}")
        tried = Tried(name, scores, self._cache.used - before)
        self._tried.append(tried)
        return tried

    def _against(self, rung: Rung, lead: Sequence[Score], in_vain: int) -> str | None:
        """Say why a rung is not worth its price; None if it is."""
        if not leads(lead, [1.0] * len(lead)):
            return "nothing is left to gain"
        if in_vain >= PATIENCE:
            return f"{in_vain} rungs gained nothing"
        left = self._calls_left()
        if left is not None and (needed := self._needed(rung)) > left:
            return f"it takes about {needed} LM calls, and {left} are left"
        return None

    def _needed(self, rung: Rung) -> int:
        """Return about how many LM calls a rung takes, by what scoring took so far."""
        programs = sum(roughly(rung, len(part.train)) for part in self._judge.splits)
        scoring = self._judge.judged
        return math.ceil(self._each() * (programs + scoring)) + self._to_finish(rung)

    def _to_finish(self, rung: Rung) -> int:
        """Return about how many LM calls the final program takes, should it be this rung's."""
        if not self._judge.crossed:
            return 0
        return math.ceil(self._each() * roughly(rung, len(self._judge.examples)))

    def _each(self) -> float:
        """Return how many LM calls one call of the program takes."""
        scored = self._tried[0]
        return max(scored.cost.lm_calls / max(len(scored.scores), 1), 1)

    def _calls_left(self) -> int | None:
        limit = self._ladder.max_lm_calls
        return None if limit is None else limit - self._cache.used.lm_calls

    def _limit(self, held_back: int) -> None:
        calls = self._ladder.max_lm_calls
        most = None if calls is None else max(calls - held_back, 0)
        self._cache.limit(most, self._ladder.max_usd)

    def _try(self, rung: Rung) -> Tried | None:
        """Try a rung; None if the climb's own budget ended it."""
        before = self._cache.used
        self._limit(self._to_finish(rung))
        try:
            trial = self._judge.trial(rung.optimizer, rung.options, f"scoring: {rung.optimizer}")
        except Stopped:
            if self._stop.reason is not None:
                raise
            # Its threads may be at work still, and would be taken for what comes next.
            self._judge.watch.drain(CALL_SECONDS)
            return None
        return Tried(rung.optimizer, trial.scores, self._cache.used - before, trial)

    def _chosen(self, lead: Tried, base: Any, why: str) -> Climbed:
        """Compare the best program with the one in use, which chance must not have chosen."""
        in_use, *others = self._tried
        if not others and self._failed:
            raise next(iter(self._failed.values()))
        others = others or [in_use]
        best = lead if lead is not in_use else max(others, key=lambda one: mean(one.scores) or 0.0)
        comparison = compare(in_use.scores, best.scores, [one.scores for one in others])
        if comparison is None:
            raise Refused("no held-out example was answered for both versions")
        self._limit(0)
        module = base if best.trial is None else self._judge.final(best.trial)
        candidates = sorted(
            (tried.candidate for tried in self._tried), key=lambda one: one.score, reverse=True
        )
        return Climbed(
            module,
            best.trial.optimizer if best.trial else None,
            comparison,
            tuple(candidates),
            "; ".join(
                [f"{best.name} out of {len(self._tried)}", why, *map(str, self._failed.values())]
            ),
        )
