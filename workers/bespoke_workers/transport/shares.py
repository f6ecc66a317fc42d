"""Which member's each shard is: a pure rule that all members apply to the same list."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet


def owners(shards: Sequence[str], members: Mapping[str, AbstractSet[str]]) -> dict[str, str]:
    """Return the owner of each of ``shards`` (names) that some member consumes.

    ``members`` maps each member's id to the queues that it consumes. Shards which the same
    members consume are divided evenly among these: their numbers differ by one at most. A
    member that comes or goes moves few shards besides its own share.
    """
    alike: dict[frozenset[str], list[str]] = defaultdict(list)
    for shard in shards:
        alike[frozenset(m for m, consumed in members.items() if shard in consumed)].append(shard)
    owned: dict[str, str] = {}
    for candidates, common in alike.items():
        if candidates:
            owned |= _divided(common, candidates)
    return owned


def _divided(shards: Sequence[str], members: AbstractSet[str]) -> dict[str, str]:
    """Pair what is closest by hash first, until each member has its share."""
    share, larger = divmod(len(shards), len(members))
    held: Counter[str] = Counter()
    owned: dict[str, str] = {}
    pairs = ((shard, member) for shard in shards for member in members)
    for shard, member in sorted(pairs, key=lambda pair: _distance(*pair)):
        if shard in owned or held[member] > share or (held[member] == share and not larger):
            continue
        larger -= held[member] == share
        held[member] += 1
        owned[shard] = member
    return owned


def _distance(shard: str, member: str) -> bytes:
    return hashlib.blake2b(f"{shard} {member}".encode(), digest_size=8).digest()
