"""Looking for the markers of users in all that was written, for tests."""

import base64
import gzip
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import redis

from tests.integration.optimizing import Worker, marker

_MARKED = re.compile(re.escape(marker("")) + r"(\w+)")
_PACKED = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")  # the body of a message is base64

Found = Counter[tuple[str | None, str]]
"""How often the marker of a user, the second, was found where the first one's things are.

The first is None where nothing of any user belongs.
"""


def foreign(found: Found) -> Found:
    """Return what was found of one user where another's is, or nobody's."""
    return Counter({key: count for key, count in found.items() if key[0] != key[1]})


async def in_database(worker: Worker) -> dict[str, Found]:
    """Look through every row of every table: whose it is, its ``user_id`` says."""
    columns = "FROM information_schema.columns WHERE table_schema = 'public'"
    tables = await worker.execute(f"SELECT DISTINCT table_name {columns}")
    owned = set(await worker.execute(f"SELECT table_name {columns} AND column_name = 'user_id'"))
    return {table: await _in_table(worker, table, table in owned) for table in tables}


async def _in_table(worker: Worker, table: str, owned: bool) -> Found:
    owner = "coalesce(t.user_id, '')" if owned else "''"
    rows = await worker.execute(f'SELECT {owner} || chr(31) || to_json(t) FROM "{table}" t')
    found: Found = Counter()
    for row in rows:
        user_id, _, content = row.partition("\x1f")
        found += _of(user_id or None, content)
    return found


async def owners(worker: Worker) -> dict[str, str]:
    """Return whose each optimization is, by its id."""
    rows = await worker.execute("SELECT id || ' ' || user_id FROM optimization_job")
    return dict(row.split(" ", 1) for row in rows)


def in_files(paths: Iterable[Path], owners: Mapping[str, str]) -> Found:
    """Look through files, of which those belong to a user that a job's id is in the path of."""
    found: Found = Counter()
    for path in paths:
        if path.is_file():
            owner = next((user for job, user in owners.items() if job in str(path)), None)
            content = path.read_bytes()
            found += _of(owner, gzip.decompress(content) if path.suffix == ".gz" else content)
    return found


def in_text(text: str) -> Found:
    """Look through what nothing of any user belongs in."""
    return _of(None, text)


def in_redis(url: str) -> tuple[int, Found]:
    """Look through every key, packed messages too; return how many there are, and what of whom."""
    found: Found = Counter()
    with redis.Redis.from_url(url) as client:
        keys = list(client.scan_iter())
        for key in keys:
            content = key + b" " + repr(_value(client, key)).encode()
            packed = [base64.b64decode(part + b"===") for part in _PACKED.findall(content)]
            found += _of(None, b" ".join([content, *packed]))
    return len(keys), found


def _value(client: "redis.Redis", key: bytes) -> object:
    kind = client.type(key)
    if kind == b"string":
        return client.get(key)
    if kind == b"hash":
        return client.hgetall(key)
    if kind == b"list":
        return client.lrange(key, 0, -1)
    if kind == b"set":
        return client.smembers(key)
    if kind == b"zset":
        return client.zrange(key, 0, -1)
    assert kind == b"stream", kind
    return client.xrange(key)


def _of(owner: str | None, content: str | bytes) -> Found:
    text = content if isinstance(content, str) else content.decode(errors="replace")
    return Counter((owner, user_id) for user_id in _MARKED.findall(text))
