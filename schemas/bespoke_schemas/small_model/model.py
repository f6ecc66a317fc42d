"""The small model: for each predictor that it was trained for, and each of its output fields, a
classifier. It is no language model, and answers in a language model's place."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bespoke_schemas.small_model.chat import (
    NotLearnable,
    answered,
    asked,
    check_learnable,
    names,
    parted,
)
from bespoke_schemas.small_model.classifier import Classifier, Stored
from bespoke_schemas.small_model.features import features

FORMAT = 1
FEWEST = 2  # examples, for there to be a choice


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    format: int
    predictors: Annotated[dict[str, dict[str, Stored]], Field(min_length=1)]


@dataclass(frozen=True)
class SmallModel:
    """Classifiers by a digest of the predictor's instructions, then by the output field."""

    predictors: Mapping[str, Mapping[str, Classifier]]

    @classmethod
    def trained(cls, lines: Iterable[Mapping[str, Any]]) -> Self:
        """Train on calls as lines of chat; raises NotLearnable where there is nothing to choose."""
        calls: dict[str, list[tuple[dict[int, int], dict[str, str]]]] = {}
        for line in lines:
            instructions, inputs, values = parted(line)
            calls.setdefault(_digest(instructions), []).append((features(inputs), values))
        if sum(map(len, calls.values())) < FEWEST:
            raise NotLearnable(f"the small model needs {FEWEST} right answers at least")
        return cls({key: _classifiers(seen) for key, seen in sorted(calls.items())})

    def answer(self, instructions: str, question: str) -> str:
        """Return the answer to a call; raises NotLearnable to one that it was not trained for."""
        found = features(asked(question))
        chosen = {
            field: classifier.choose(found) for field, classifier in self._of(instructions).items()
        }
        return answered(chosen)

    def stored(self) -> dict[str, Any]:
        """Return it as JSON."""
        predictors = {
            key: {field: classifier.stored() for field, classifier in each.items()}
            for key, each in self.predictors.items()
        }
        return {"format": FORMAT, "predictors": predictors}

    @classmethod
    def of(cls, content: str | bytes) -> Self:
        """Return what was stored; raises ValueError where it is not such a model."""
        try:
            stored = _Stored.model_validate_json(content)
        except ValidationError:
            raise ValueError("it is no small model") from None
        if stored.format != FORMAT:
            raise ValueError(f"it is a small model of format {stored.format}, not {FORMAT}")
        return cls(
            {
                key: {field: Classifier.of(each) for field, each in fields.items()}
                for key, fields in stored.predictors.items()
            }
        )

    def _of(self, instructions: str) -> Mapping[str, Classifier]:
        known = self.predictors.get(_digest(instructions))
        if known is not None:
            return known
        # Instructions that were reworded ask for the same fields.
        there = names(instructions)
        fitting = [each for each in self.predictors.values() if there.issuperset(each)]
        if len(fitting) != 1:
            raise NotLearnable("the small model was not trained for this predictor")
        return fitting[0]


def _classifiers(seen: list[tuple[dict[int, int], dict[str, str]]]) -> dict[str, Classifier]:
    fields = list(dict.fromkeys(field for _, values in seen for field in values))
    if not fields:
        raise NotLearnable("the answers have no field; the small model reads DSPy's ChatAdapter")
    made = {}
    for field in fields:
        examples = [(found, values[field]) for found, values in seen if field in values]
        check_learnable(field, [value for _, value in examples])
        made[field] = Classifier.trained(examples)
    return made


def _digest(instructions: str) -> str:
    return hashlib.sha256(instructions.encode(errors="replace")).hexdigest()[:16]
