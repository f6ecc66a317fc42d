"""A job that met an outage is sent again for later: always, whole, and with its contents hidden."""

import json
import subprocess
import sys
from typing import Any

from bespoke_schemas import memories
from bespoke_schemas.queues import queue_name
from tests.nodes.waiting import SECONDS

SECRET = "my-secret-diagnosis"

# Does in one process what a worker does when a service raises Transient.
RETRY = """
import json, sys
from celery.exceptions import Reject
import bespoke_workers.tasks.memories
from bespoke_workers import app
from bespoke_workers.errors import Transient

name, payload, queue, retries = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])
task = app.celery.tasks[name]
task.push_request(
    id=payload["id"], task=name, args=(), kwargs={"payload": payload}, retries=retries,
    called_directly=False, delivery_info={"exchange": "", "routing_key": queue},
)
outcome = app._again(task, Transient("the database is away"))
told = {"outcome": type(outcome).__name__, "requeue": getattr(outcome, "requeue", None)}
if not isinstance(outcome, Reject):
    with app.celery.connection_for_read() as connection, connection.channel() as channel:
        message = app.celery.amqp.queues[queue](channel).get()
        told["headers"], told["body"] = message.headers, message.payload
print(json.dumps(told))
"""


def retried(env: dict[str, str], retries: int) -> tuple[memories.Store, dict[str, Any], str]:
    """Return a job, what became of its retry, and what was printed meanwhile."""
    payload = memories.Store(user_id="ada", content=SECRET, metadata={SECRET: SECRET})
    text = json.dumps(payload.model_dump(mode="json"))
    queue = queue_name(payload.queue, "ada")
    done = subprocess.run(
        [sys.executable, "-c", RETRY, payload.task, text, queue, str(retries)],
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return payload, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_a_job_is_sent_again_to_its_queue_with_its_contents_hidden(
    bespoke_env: dict[str, str],
) -> None:
    payload, told, log = retried(bespoke_env, retries=0)

    assert told["outcome"] == "Retry"
    assert told["body"][1] == {"payload": payload.model_dump(mode="json")}
    assert told["headers"]["id"] == str(payload.id)
    assert told["headers"]["retries"] == 1
    assert told["headers"]["eta"] is not None
    assert SECRET not in json.dumps(told["headers"])
    assert SECRET not in log


def test_a_job_is_never_given_up_however_long_the_outage(bespoke_env: dict[str, str]) -> None:
    _, told, _ = retried(bespoke_env, retries=100_000)

    assert told["outcome"] == "Retry"
    assert told["headers"]["retries"] == 100_001


def test_without_a_broker_the_message_goes_back_to_where_it_was(
    bespoke_env: dict[str, str],
) -> None:
    away = "redis://127.0.0.1:1/0"

    _, told, log = retried({**bespoke_env, "BESPOKE_BROKER_URL": away}, retries=0)

    assert told == {"outcome": "Reject", "requeue": True}
    assert SECRET not in log
