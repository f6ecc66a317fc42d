"""A pool: examples of which those nearest to a request become the demos of that request."""

import base64
import copy
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bespoke_schemas.fields import CONTENT_LIMIT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

Kind = tuple[str, int]
"""An embedder's name and the dimension of its vectors; those of another one tell nothing."""


class Pool:
    """One predictor's pool, as a state that went through the whitelist has it. Immutable."""

    def __init__(self, part: Mapping[str, Any]) -> None:
        self.part = part

    @property
    def kind(self) -> Kind:
        """Which embedder its vectors are of."""
        return self.part["embedder"], self.part["dim"]

    @property
    def inputs(self) -> Sequence[str]:
        """The program's inputs that were embedded."""
        names: Sequence[str] = self.part["inputs"]
        return names

    def nearest(self, vector: "ArrayLike") -> list[dict[str, Any]]:
        """Return copies of the k demos that are nearest to a vector of its kind.

        The nearest comes last, next to the question in the prompt; of equals the earlier one
        is nearer. Raises ValueError for a vector of another shape.
        """
        import numpy as np

        asked = np.asarray(vector, dtype=np.float32)
        if asked.shape != (self.part["dim"],) or not np.isfinite(asked).all():
            raise ValueError(f"expected {self.part['dim']} finite numbers, got {asked.shape}")
        order = np.argsort(-(self._unit @ asked), kind="stable")[: self.part["k"]]
        return [copy.deepcopy(self.part["demos"][place]) for place in reversed(order)]

    @property
    def vectors(self) -> "NDArray[np.float32]":
        """Its vectors as they were embedded, one row for each demo."""
        import numpy as np

        raw = base64.b64decode(self.part["vectors"])
        return np.frombuffer(raw, dtype="<f2").reshape(-1, self.part["dim"]).astype(np.float32)

    @cached_property
    def _unit(self) -> "NDArray[np.float32]":
        import numpy as np

        rows = self.vectors
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / np.where(lengths == 0, np.float32(1), lengths)
        return unit.astype(np.float32, copy=False)

    def __copy__(self) -> "Pool":
        return self

    def __deepcopy__(self, memo: object) -> "Pool":
        # Modules are copied for each request, and a pool may take megabytes.
        return self


def pool_part(
    k: int,
    inputs: Sequence[str],
    kind: Kind,
    demos: Sequence[Mapping[str, Any]],
    vectors: "ArrayLike",
) -> dict[str, Any]:
    """Return a pool as a state has it; ``vectors`` has one row for each demo."""
    import numpy as np

    rows = np.asarray(vectors, dtype="<f2")
    if rows.shape != (len(demos), kind[1]):
        raise ValueError(f"expected {len(demos)} vectors of {kind[1]}, got shape {rows.shape}")
    return {
        "k": k,
        "inputs": list(inputs),
        "embedder": kind[0],
        "dim": kind[1],
        "demos": [dict(demo) for demo in demos],
        "vectors": base64.b64encode(rows.tobytes()).decode(),
    }


def embedded_text(inputs: Sequence[str], given: Mapping[str, Any]) -> str | None:
    """Return the text by which inputs are compared; None if none of them is given.

    That of one input is the input itself; several are told apart by name.
    """
    parts = {name: _as_text(given[name]) for name in inputs if name in given}
    if not parts:
        return None
    whole = len(inputs) == 1
    text = next(iter(parts.values())) if whole else "\n".join(": ".join(x) for x in parts.items())
    return text[:CONTENT_LIMIT]


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
