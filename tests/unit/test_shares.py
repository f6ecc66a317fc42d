"""Who owns which shard."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bespoke_workers.transport.shares import owners

SHARDS = [f"s.{number}" for number in range(16)]
EVERYTHING = frozenset(SHARDS)
IDS = st.sets(st.text("abcdef0123456789", min_size=1, max_size=8), min_size=1, max_size=20)
SUBSETS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.sets(st.sampled_from(SHARDS)), max_size=6
)


@given(IDS)
def test_members_of_all_shards_have_even_shares(ids: set[str]) -> None:
    owned = owners(SHARDS, dict.fromkeys(ids, EVERYTHING))
    sizes = Counter(owned.values())
    assert owned.keys() == set(SHARDS)
    assert max(sizes.values()) - min(sizes[name] for name in ids) <= 1


@given(SUBSETS)
def test_each_shard_that_is_consumed_has_an_owner_that_consumes_it(
    members: dict[str, set[str]],
) -> None:
    owned = owners(SHARDS, members)
    assert owned.keys() == set().union(*members.values())
    assert all(shard in members[owner] for shard, owner in owned.items())


@given(SUBSETS)
def test_all_members_come_to_the_same_answer(members: dict[str, set[str]]) -> None:
    turned = dict(reversed(members.items()))
    assert owners(SHARDS, members) == owners(SHARDS, turned)


def test_a_new_member_moves_little_besides_its_own_share() -> None:
    moved = 0
    for trial in range(50):
        ids = [f"{trial}-{number}" for number in range(5)]
        before = owners(SHARDS, dict.fromkeys(ids[:4], EVERYTHING))
        after = owners(SHARDS, dict.fromkeys(ids, EVERYTHING))
        moved += sum(before[shard] != after[shard] for shard in SHARDS)
    assert moved / 50 < 6  # its share is 3.2; a remainder would move 13
