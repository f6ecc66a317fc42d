"""Job ids are UUIDv7."""

import time
from uuid import RFC_4122

from bespoke_schemas import uuid7


def test_an_id_is_a_uuid_of_version_7() -> None:
    made = [uuid7() for _ in range(1000)]

    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {RFC_4122}
    assert len(set(made)) == 1000


def test_an_id_starts_with_the_milliseconds_of_its_making() -> None:
    before = time.time_ns() // 1_000_000
    milliseconds = uuid7().int >> 80
    after = time.time_ns() // 1_000_000

    assert before <= milliseconds <= after


def test_ids_of_later_milliseconds_are_greater() -> None:
    made = [uuid7()]
    deadline = time.monotonic() + 5
    while len(made) < 5:
        assert time.monotonic() < deadline
        later = uuid7()
        if later.int >> 80 > made[-1].int >> 80:
            made.append(later)

    assert made == sorted(made)
    assert [str(one) for one in made] == sorted(str(one) for one in made)


def test_everything_but_the_time_is_random() -> None:
    ones = zeros = 0
    for _ in range(200):
        ones |= uuid7().int
        zeros |= ~uuid7().int
    fixed = (0xF << 76) | (0x3 << 62)
    random_bits = ((1 << 80) - 1) & ~fixed

    assert ones & random_bits == random_bits
    assert zeros & random_bits == random_bits
