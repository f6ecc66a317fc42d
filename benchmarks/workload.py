"""What users say in the benchmarks."""

import random
from collections.abc import Iterator

WORDS = 2_000
WORDS_OF_TEXT = 9


def stores(users: int, each: int, seed: int, again: float = 0.0) -> Iterator[tuple[str, str]]:
    """Yield (user, text) in turns, ``each`` per user.

    A share of ``again`` of the texts say in capitals what the user has said before: whoever looks
    for duplicates finds them.
    """
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefghijklmnoprstuvw", k=6)) for _ in range(WORDS)]
    said: list[list[str]] = [[] for _ in range(users)]
    for _ in range(each):
        for user, texts in enumerate(said):
            if texts and chance.random() < again:
                yield f"user-{user}", chance.choice(texts).upper()
            else:
                texts.append(" ".join(chance.choices(words, k=WORDS_OF_TEXT)))
                yield f"user-{user}", texts[-1]
