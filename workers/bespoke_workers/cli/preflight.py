"""Checks before a process starts: a wrong setting is told at once, in one line.

Redis and SQLAlchemy are imported by the check that needs them: `bespoke --help` shows up
in a fraction of the second and a half that the two take.
"""

import asyncio

from bespoke_workers.errors import BespokeError, Misconfigured, Transient
from bespoke_workers.settings import Settings

CONNECT_SECONDS = 5.0


def check_database(settings: Settings) -> None:
    """Raise Misconfigured or Transient unless the database can be used and is migrated."""
    asyncio.run(_check_database(settings.database()))


def check_broker(settings: Settings) -> None:
    """Raise Misconfigured or Transient unless the broker and the result backend answer."""
    import redis

    for name, url in (("BROKER_URL", settings.broker()), ("RESULT_URL", settings.results())):
        try:
            with redis.Redis.from_url(
                url, socket_connect_timeout=CONNECT_SECONDS, socket_timeout=CONNECT_SECONDS
            ) as client:
                client.ping()
        except redis.AuthenticationError:
            raise Misconfigured(f"BESPOKE_{name}: Redis refused the password; correct it") from None
        except (redis.RedisError, OSError, ValueError) as error:
            raise Transient(
                f"BESPOKE_{name}: Redis cannot be reached ({type(error).__name__}); start it, "
                "correct the URL, or run `bespoke up`"
            ) from None


def check_tracking(settings: Settings) -> None:
    """Raise Misconfigured where MLflow is to be told of optimizations and cannot be."""
    if settings.mlflow() is not None:
        from bespoke_workers.optimization.tracking import mlflow_server

        mlflow_server.require()


def problems(settings: Settings) -> list[str]:
    """Return what is wrong with the servers, one line each."""
    found = []
    for check in (check_broker, check_database):
        try:
            check(settings)
        except BespokeError as error:
            found.append(str(error))
    return found


async def _check_database(url: str) -> None:
    from bespoke_workers.database.engine import Database
    from bespoke_workers.database.migrate import require_current

    database = Database(url, pool_size=1)
    try:
        await require_current(database)
    finally:
        await database.close()
