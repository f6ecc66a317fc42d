"""The floor below which the guard does not fall, on labelled pairs."""

from collections import Counter

from benchmarks.guard_evidence import GUARD_ALONE, cosines, evidence, pairs
from bespoke_workers.memories.embedding import load_embedder

REPEATS = ("identical", "case", "whitespace")
TOLD_APART = ("number", "negation", "antonym")


def test_the_default_embedder_merges_every_repeat_and_nothing_else() -> None:
    labelled, lexical = pairs(), load_embedder(None)
    similar = cosines(labelled, lexical)
    for guarded in (True, False):
        found = evidence(labelled, similar, lexical.threshold, guarded=guarded)
        repeats = Counter(pair.kind for pair in labelled if pair.kind in REPEATS)
        assert found.precision == 1
        assert found.merged == repeats


def test_the_guard_alone_tells_apart_what_it_claims_to() -> None:
    labelled = pairs()
    alone = evidence(labelled, [1.0] * len(labelled), GUARD_ALONE, guarded=True)
    assert not any(alone.merged[kind] for kind in TOLD_APART)
    assert alone.recall == 1
    spoken = {pair.lang for pair in labelled if pair.kind in TOLD_APART}
    assert len(spoken) >= 12
