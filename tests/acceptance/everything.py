"""Searching everything that a system keeps for a text: database, Redis, files and logs."""

import asyncio
import base64
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import redis

BASE64 = re.compile(rb"[A-Za-z0-9+/=]{16,}")


def found(
    marks: Iterable[str],
    *,
    database_url: str,
    redis_url: str,
    folders: Iterable[Path] = (),
    logs: Iterable[str] = (),
) -> list[str]:
    """Return every place where one of some texts is found, as it is or encoded."""
    forms = {form for mark in marks for form in _forms(mark)}
    places = [
        *asyncio.run(_in_database(database_url, forms)),
        *_in_redis(redis_url, forms),
        *(place for folder in folders for place in _in_files(folder, forms)),
        *(f"log {number}" for number, log in enumerate(logs) if _holds(log.encode(), forms)),
    ]
    return sorted(set(places))


def rows(database_url: str, where: dict[str, str]) -> dict[str, list[str]]:
    """Return rows as text, for each table those of a condition."""

    async def read() -> dict[str, list[str]]:
        connection = await asyncpg.connect(database_url.replace("+asyncpg", ""))
        try:
            return {
                table: sorted(
                    row[0]
                    for row in await connection.fetch(
                        f"SELECT CAST(t AS text) FROM {table} AS t WHERE {condition}"
                    )
                )
                for table, condition in where.items()
            }
        finally:
            await connection.close()

    return asyncio.run(read())


def _forms(mark: str) -> tuple[bytes, ...]:
    return mark.encode(), json.dumps(mark)[1:-1].encode()


def _holds(content: bytes, forms: set[bytes]) -> bool:
    return any(form in content for form in forms)


async def _in_database(url: str, forms: set[bytes]) -> list[str]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace "
            "WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema') "
            "AND relname NOT LIKE 'pg_toast%'"
        )
        places = []
        for (table,) in tables:
            for (text,) in await connection.fetch(f'SELECT CAST(t AS text) FROM "{table}" AS t'):
                if _holds(text.encode(), forms):
                    places.append(f"table {table}: {text[:300]}")
        return places
    finally:
        await connection.close()


def _in_redis(url: str, forms: set[bytes]) -> Iterator[str]:
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            if any(_holds(text, forms) for text in (key, *_texts(client, key))):
                yield f"redis {key.decode()}"


def _texts(client: Any, key: bytes) -> Iterator[bytes]:
    read: dict[bytes, Callable[[], Iterable[bytes]]] = {
        b"string": lambda: [client.get(key) or b""],
        b"list": lambda: client.lrange(key, 0, -1),
        b"hash": lambda: [part for pair in client.hgetall(key).items() for part in pair],
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1),
    }
    for text in read.get(client.type(key), list)():
        yield text
        for encoded in BASE64.findall(text):
            with suppress(ValueError):  # it only looks like base64
                yield base64.b64decode(encoded + b"==")


def _in_files(folder: Path, forms: set[bytes]) -> Iterator[str]:
    for path in folder.rglob("*"):
        if "postgres" in path.parts:
            continue
        content = path.read_bytes() if path.is_file() else b""
        if content.startswith(b"\x1f\x8b"):
            content = _unpacked(content)
        if _holds(str(path.relative_to(folder)).encode(), forms) or _holds(content, forms):
            yield f"file {path}"


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except EOFError:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content)
