"""Serving a user's program: from memory, and when it has to be loaded."""

import statistics
import time
from collections.abc import Iterator

from benchmarks.bench import Figure, servers
from tests.integration.serving import Serving, serving
from tests.two_predictors import NAME, tame_state

USERS = 100
DEMOS = 100
ROUNDS = 5


def measure() -> Iterator[Figure]:
    """Serve programs of two predictors, one of which has 100 demos."""
    state = tame_state()
    state["classify"]["demos"] = [
        {"text": f"Message {number} of somebody who has something to say", "label": "card"}
        for number in range(DEMOS)
    ]
    users = [f"user-{number}" for number in range(USERS)]
    with servers() as here, serving(here.postgres.url, here.home) as application:
        application.save("", None)
        for user in users:
            application.save("", user, state=state)
        application.for_user(NAME)  # DSPy is imported, and a connection is open
        loading = [_seconds(application, user) for user in users]
        kept = [_seconds(application, user) for _ in range(ROUNDS) for user in users]
        stats = application.for_user.stats()
    assert (stats.hits, stats.misses) == (ROUNDS * USERS, USERS + 1)
    yield Figure("for_user, from memory, 100 demos", 1000 * statistics.median(kept), "ms")
    yield Figure("for_user, loading, 100 demos", 1000 * statistics.median(loading), "ms")


def _seconds(application: Serving, user: str) -> float:
    began = time.perf_counter()
    application.for_user(NAME, user)
    return time.perf_counter() - began
