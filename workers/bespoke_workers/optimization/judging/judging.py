"""Making programs and scoring them, all on the same examples, each of which was new to them."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Final

import dspy

from bespoke_schemas.optimization import Candidate, Optimizer
from bespoke_schemas.program_state import Pool, give_pool, pool_part, pools
from bespoke_workers.errors import BespokeError, Refused
from bespoke_workers.optimization.judging.comparison import Score
from bespoke_workers.optimization.judging.scoring import score
from bespoke_workers.optimization.judging.split import FEW, Fields, Split, crossed, split
from bespoke_workers.optimization.optimizers.knn import Vectors
from bespoke_workers.optimization.optimizers.optimizers import Compiled, compile_program
from bespoke_workers.optimization.watch import Watch
from bespoke_workers.programs.registry import Program
from bespoke_workers.programs.state import predictors

THREADS: Final = 4
"""Of one run. A killed run pays again for the calls that were under way: at most this many."""

CHEAP: Final[frozenset[str]] = frozenset({"LabeledFewShot", "KNNFewShot", "BootstrapFewShot"})
"""Optimizers that ask for each example once at most, so that few are learned from repeatedly."""


@dataclass(frozen=True)
class Trial:
    """What an optimizer made for each split, and how that scored on what was held out."""

    optimizer: Optimizer
    options: Mapping[str, Any]
    made: tuple[Compiled, ...]
    scores: list[Score]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The programs that the optimizer chose from, where it did so once."""
        return self.made[0].candidates if len(self.made) == 1 else ()


@dataclass(frozen=True)
class Judge:
    """Scores what is in use and what optimizers make, on the same held-out examples.

    ``student`` makes the module that an optimizer changes. Where few examples are ``crossed``,
    each is held out once: an optimizer is judged by what it makes of the others, and what is in
    use by what it is without those of its demos that show the example.
    """

    program: Program
    student: Callable[[], Any]
    examples: Sequence[Fields]
    seed: str
    watch: Watch
    vectors: Vectors | None
    crossed: bool
    splits: tuple[Split, ...] = field(init=False)

    def __post_init__(self) -> None:
        whole = crossed(self.examples, self.seed) if self.crossed else ()
        object.__setattr__(self, "splits", whole or (split(self.examples, self.seed),))

    @property
    def judged(self) -> int:
        """On how many examples programs are scored."""
        return sum(len(each.held_out) for each in self.splits)

    def scored(self, module: Any, step: str) -> list[Score]:
        """Score a module that is there already."""
        held_out = self._held_out()
        answering = [_without(module, one) if self.crossed else module for one in held_out]
        return self._score(answering, held_out, step)

    def trial(self, optimizer: Optimizer, options: Mapping[str, Any], step: str) -> Trial:
        """Make what an optimizer makes, and score it; raises Refused where it raises."""
        self.watch.begin(optimizer)
        made = tuple(self._compiled(optimizer, options, each.train) for each in self.splits)
        answering = [
            compiled.module
            for compiled, each in zip(made, self.splits, strict=True)
            for _ in each.held_out
        ]
        return Trial(optimizer, options, made, self._score(answering, self._held_out(), step))

    def final(self, trial: Trial) -> Any:
        """Return the module to be put into use: it has learned from all that it may learn from."""
        if not self.crossed:
            return trial.made[0].module
        self.watch.begin(trial.optimizer)
        return self._compiled(trial.optimizer, trial.options, self.examples).module

    def _score(self, answering: Sequence[Any], held_out: Sequence[Any], step: str) -> list[Score]:
        self.watch.begin(step, len(held_out))
        return score(self.program, answering, held_out, self.watch, THREADS)

    def _held_out(self) -> list[Any]:
        fields = chain.from_iterable(each.held_out for each in self.splits)
        return _examples(list(fields), self.program.inputs)

    def _compiled(
        self, optimizer: Optimizer, options: Mapping[str, Any], train: Sequence[Fields]
    ) -> Compiled:
        try:
            return _left_clean(
                partial(
                    compile_program,
                    optimizer,
                    self.student(),
                    self.program.metric,
                    _examples(train, self.program.inputs),
                    options,
                    self.vectors,
                )
            )
        except BespokeError:
            raise
        except Exception as error:  # noqa: BLE001  # its text may quote examples: only its type is told
            because = f" ({failure})" if (failure := self.watch.failure()) else ""
            raise Refused(
                f"{optimizer} raised {type(error).__name__} while it optimized "
                f"{self.program.name!r}{because}"
            ) from None


def is_crossed(examples: int, optimizers: Sequence[str]) -> bool:
    """Return whether each of so few examples is held out once, for these optimizers."""
    return examples < FEW and CHEAP.issuperset(optimizers)


def _without(module: Any, example: Any) -> Any:
    """Return the module without the demos that show an example, which it would just repeat."""
    inputs = example.inputs().toDict()
    shown = [each.demos for each in _predictors(module)]
    shown += [pool.part["demos"] for pool in pools(module).values()]
    if not any(_shows(demo, inputs) for demos in shown for demo in demos):
        return module
    copy = module.deepcopy()
    smaller = {name: _smaller(pool, inputs) for name, pool in pools(copy).items()}
    for each in _predictors(copy):
        each.demos = [demo for demo in each.demos if not _shows(demo, inputs)]
    for name, predictor in copy.named_sub_modules(dspy.Predict):
        if (pool := smaller.get(name)) is not None:
            give_pool(predictor, pool)
    return copy


def _smaller(pool: Pool, inputs: Mapping[str, Any]) -> Pool | None:
    """Return a pool without what shows an example; None if nothing would be left."""
    demos = pool.part["demos"]
    left = [place for place, demo in enumerate(demos) if not _shows(demo, inputs)]
    kept = [demos[place] for place in left]
    vectors = pool.vectors[left]
    return Pool(pool_part(pool.part["k"], pool.inputs, pool.kind, kept, vectors)) if left else None


def _predictors(module: Any) -> list[Any]:
    return list(predictors(module).values())


def _shows(demo: Any, inputs: Mapping[str, Any]) -> bool:
    """Return whether a demo has the inputs of an example, as far as its predictor takes them."""
    shared = [name for name in inputs if name in demo]
    return bool(shared) and all(demo[name] == inputs[name] for name in shared)


def _left_clean(compiling: Callable[[], Compiled]) -> Compiled:
    """Compile; where that raises, let go of what the optimizer held, while it is still silent.

    GEPA leaves its progress bar open then, which would be printed once the error is forgotten.
    """
    try:
        return compiling()
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        raise


def _examples(fields: Sequence[Mapping[str, Any]], inputs: Sequence[str]) -> list[Any]:
    return [dspy.Example(**one).with_inputs(*inputs) for one in fields]
