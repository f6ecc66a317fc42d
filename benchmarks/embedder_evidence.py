"""What speaks for the default embedder: recipes side by side on labelled pairs and real messages.

    python benchmarks/embedder_evidence.py [MESSAGES.csv]

The pairs are `pairs.jsonl`; MESSAGES.csv has the columns `text,category`. For each recipe:

- dup/kind: pairs of that kind at or above the threshold (only the first three kinds should be);
- wrong: different messages that reach the threshold with some other message, of all of them;
- gap: the highest similarity of two messages that are not repeats of one another;
- long: the similarity of two texts of 200 words that differ in one;
- 1-NN: messages whose nearest other message has the same category, as a measure of search;
- texts/s in one process.
"""

import csv
import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bespoke_workers.memories import guard, lexical
from bespoke_workers.memories.lexical import Recipe

PAIRS = Path(__file__).with_name("pairs.jsonl")
REPEATS = ("identical", "case", "whitespace")
CHUNK = 1000  # rows of the square of similarities that are held at a time

LONG = " ".join(f"{word}{n}" for n in range(50) for word in ("harbour", "garden", "violin", "tea"))

RECIPES = {
    "default": (Recipe(), lexical.THRESHOLD),
    "no identity, 0.95": (Recipe(identity=0), 0.95),
    "no identity, 0.99": (Recipe(identity=0), 0.99),
    "identity 0.05": (Recipe(identity=0.05), lexical.THRESHOLD),
    "identity 0.2": (Recipe(identity=0.2), lexical.THRESHOLD),
    "sums, no root": (Recipe(root=False), lexical.THRESHOLD),
    "words only": (Recipe(grams=(), word_weight=1), lexical.THRESHOLD),
    "n-grams only": (Recipe(word_weight=0), lexical.THRESHOLD),
    "word weight 4": (Recipe(word_weight=4), lexical.THRESHOLD),
    "word pairs": (Recipe(pair_weight=2), lexical.THRESHOLD),
    "3-grams": (Recipe(grams=(3,)), lexical.THRESHOLD),
    "3-5-grams": (Recipe(grams=(3, 4, 5)), lexical.THRESHOLD),
    "2-5-grams": (Recipe(grams=(2, 3, 4, 5)), lexical.THRESHOLD),
    "dim 256": (Recipe(dim=256), lexical.THRESHOLD),
    "dim 512": (Recipe(dim=512), lexical.THRESHOLD),
    "dim 768": (Recipe(dim=768), lexical.THRESHOLD),
}


def main(arguments: list[str]) -> None:
    """Print one line for each recipe, then the pairs that the guard tells apart."""
    pairs = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    messages, categories = _messages(Path(arguments[0])) if arguments else ([], [])
    kinds = Counter(pair["kind"] for pair in pairs)
    print(f"{len(pairs)} pairs, {len(messages)} messages")
    print(f"{'recipe':18}" + "".join(f"{kind[:9]:>10}" for kind in kinds)
          + f"{'long':>8}{'wrong':>7}{'gap':>7}{'1-NN':>7}{'texts/s':>9}")  # fmt: skip
    for name, (recipe, threshold) in RECIPES.items():
        found = _duplicates(pairs, recipe, threshold)
        cells = "".join(f"{f'{found[kind]}/{n}':>10}" for kind, n in kinds.items())
        cells += f"{_long(recipe):>8.3f}"
        print(f"{name:18}{cells}{_on_messages(messages, categories, recipe, threshold)}")
    guarded = Counter(p["kind"] for p in pairs if guard.same_facts(p["a"], p["b"]))
    print(
        f"{'guard lets pass':18}" + "".join(f"{f'{guarded[k]}/{n}':>10}" for k, n in kinds.items())
    )


def _messages(path: Path) -> tuple[list[str], list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list({lexical.repeat_key(row["text"]): row for row in csv.DictReader(file)}.values())
    return [row["text"] for row in rows], [row["category"] for row in rows]


def _duplicates(pairs: list[dict[str, str]], recipe: Recipe, threshold: float) -> Counter[str]:
    left = lexical.embed([pair["a"] for pair in pairs], recipe)
    right = lexical.embed([pair["b"] for pair in pairs], recipe)
    scores = (_rounded(left) * _rounded(right)).sum(axis=1)
    return Counter(p["kind"] for p, score in zip(pairs, scores, strict=True) if score >= threshold)


def _long(recipe: Recipe) -> float:
    one, other = _rounded(lexical.embed([LONG, LONG.replace("violin25", "cello25")], recipe))
    return float(one @ other)


def _on_messages(
    messages: list[str], categories: list[str], recipe: Recipe, threshold: float
) -> str:
    if not messages:
        return f"{'-':>7}{'-':>7}{'-':>7}{'-':>9}"
    started = time.perf_counter()
    vectors = _rounded(lexical.embed(messages, recipe))
    seconds = time.perf_counter() - started
    nearest, best = _nearest(vectors)
    agree = np.mean([categories[i] == categories[j] for i, j in enumerate(nearest)])
    wrong = (best >= threshold).sum()
    return f"{wrong:>7}{best.max():>7.3f}{agree:>7.3f}{len(messages) / seconds:>9.0f}"


def _nearest(vectors: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The nearest other row of each row, and how similar it is."""
    nearest, best = [], []
    for start in range(0, len(vectors), CHUNK):
        scores = vectors[start : start + CHUNK] @ vectors.T
        own = np.arange(len(scores))
        scores[own, start + own] = -1
        nearest.append(scores.argmax(axis=1))
        best.append(scores.max(axis=1))
    return np.concatenate(nearest), np.concatenate(best)


def _rounded(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors.astype(np.float16).astype(np.float32)


if __name__ == "__main__":
    main(sys.argv[1:])
