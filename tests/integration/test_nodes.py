"""The process-backed nodes do for pytest-celery what its containers do."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pytest_celery import CeleryTestSetup, CeleryWorkerCluster
from pytest_celery.vendors.worker.tasks import add, sleep

from bespoke_workers.database import migrate
from tests.nodes.nursery import nursery
from tests.nodes.process import ProcessContainer
from tests.nodes.waiting import SECONDS, wait_until, wait_until_gone
from tests.nodes.worker import ProcessWorker, WorkerContainer


@pytest.fixture
def tiny_worker(broker_url: str) -> Iterator[WorkerContainer]:
    """A worker of the tiny application, not started yet."""
    urls = {"CELERY_BROKER_URL": broker_url, "CELERY_RESULT_BACKEND": broker_url}
    worker = WorkerContainer("tests.nodes.tiny", environment={**os.environ, **urls}, concurrency=2)
    yield worker
    worker.teardown()


@pytest.fixture
def celery_worker_cluster(tiny_worker: WorkerContainer) -> CeleryWorkerCluster:
    cluster = CeleryWorkerCluster(ProcessWorker(tiny_worker, app=None))
    assert cluster.ready()
    return cluster


def test_a_setup_of_processes_is_ready_and_does_tasks(celery_setup: CeleryTestSetup) -> None:
    assert celery_setup.ready(ping=True, control=True)
    assert len(celery_setup) == 3

    assert add.s(1, 2).apply_async().get(timeout=SECONDS) == 3

    celery_setup.worker.assert_log_exists("succeeded")
    assert celery_setup.worker.hostname() in celery_setup.app.control.ping()[0]


def test_a_killed_worker_does_tasks_again_after_its_restart(celery_setup: CeleryTestSetup) -> None:
    assert celery_setup.ready()
    children = celery_setup.worker.container.children()
    assert len(children) == 2

    celery_setup.worker.kill()
    assert celery_setup.worker.container.status == "exited"
    wait_until_gone(children)
    celery_setup.worker.restart()

    assert add.s(1, 2).apply_async().get(timeout=SECONDS) == 3


def test_a_killed_broker_comes_back_with_what_waited_in_it(
    celery_setup: CeleryTestSetup, tiny_worker: WorkerContainer
) -> None:
    assert celery_setup.ready()
    tiny_worker.terminate()
    waiting = add.s(1, 2).apply_async()

    celery_setup.broker.kill()
    assert celery_setup.broker.container.status == "exited"
    celery_setup.broker.restart()
    tiny_worker.restart()

    assert waiting.get(timeout=SECONDS) == 3


def test_kill_group_leaves_nothing_of_a_busy_worker(
    celery_setup: CeleryTestSetup, tiny_worker: WorkerContainer
) -> None:
    assert celery_setup.ready()
    sleep.s(60).apply_async()
    tiny_worker.wait_for_log("received")
    family = [psutil.Process(tiny_worker.pid), *tiny_worker.children()]

    tiny_worker.kill_group()

    wait_until_gone(family)
    assert tiny_worker.status == "exited"


def test_the_processes_of_a_worker_can_be_looked_at(celery_setup: CeleryTestSetup) -> None:
    assert celery_setup.ready()

    found = celery_setup.worker.get_running_processes_info(["pid", "status"])

    assert celery_setup.worker.container.pid in [info["pid"] for info in found]
    assert len(found) == 3


def test_a_command_that_never_gets_ready_is_reported_with_its_output() -> None:
    broken = ProcessContainer(
        "broken", [sys.executable, "-c", "print('no')"], environment={}, ready_prompt="yes"
    )

    with pytest.raises(AssertionError, match=r"broken never printed 'yes': no"):
        broken.ready()

    broken.teardown()


def test_a_process_that_lingers_outside_its_session_is_not_overlooked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    escape = (
        "import signal, subprocess, sys;"
        "child = [sys.executable, '-c', 'import signal; signal.pause()'];"
        "print(subprocess.Popen(child, start_new_session=True).pid, flush=True);"
        "signal.pause()"
    )
    monkeypatch.setattr("tests.nodes.process.SECONDS", 1.0)
    node = ProcessContainer("escaper", [sys.executable, "-c", escape], environment={})
    node.start()
    wait_until(lambda: "\n" in node.logs(), "the child's number")
    child = psutil.Process(int(node.logs()))
    try:
        with pytest.raises(AssertionError, match="holds its output"):
            node.teardown()
    finally:
        child.kill()


def test_no_node_outlives_a_test_run_that_was_killed() -> None:
    run = (
        "import signal; from tests.nodes.process import ProcessContainer;"
        "node = ProcessContainer('node', ['sleep', '600'], environment={});"
        "node.start(); print(node.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", run], stdout=subprocess.PIPE) as test_run:
        assert test_run.stdout is not None
        node = psutil.Process(int(test_run.stdout.readline()))
        test_run.kill()

    wait_until_gone([node])


@pytest.mark.parametrize("preloaded", [False, True])
def test_a_worker_of_ours_consumes_a_family_of_queues_and_ends_in_order(
    bespoke_env: dict[str, str], preloaded: bool
) -> None:
    worker = WorkerContainer(
        "bespoke_workers", environment=bespoke_env, queues="memories", preloaded=preloaded
    )
    try:
        worker.ready()
        family = worker.children()
        assert len(family) == 1
        assert "memories.15" in worker.log()
        assert "exports" not in worker.log().partition("[queues]")[2].partition("[tasks]")[0]
        assert worker.terminate() == 0
        wait_until_gone(family)
    finally:
        worker.teardown()


BORN = """
import os, sys
print(os.environ["MARK"], len(os.environ), os.getcwd(), sys.argv[1:], os.getsid(0) == os.getpid())
print(sorted(map(int, os.listdir("/proc/self/fd")))[:3], file=sys.stderr)
if sys.argv[1:] == ["stays"]:
    __import__("signal").pause()
sys.exit(3)
"""


def test_a_process_of_the_nursery_is_as_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "born.py").write_text(BORN)
    environment = {"MARK": "here", "PYTHONPATH": str(tmp_path)}

    brief = nursery().start("born", ["a", "b c"], environment, tmp_path)
    stays = nursery().start("born", ["stays"], environment, tmp_path)

    assert brief.stdout is not None
    assert stays.stdout is not None
    with brief.stdout as output, stays.stdout as other:
        assert brief.wait(SECONDS) == brief.poll() == 3
        assert output.read() == f"here 2 {tmp_path} ['a', 'b c'] True\n[0, 1, 2]\n"
        assert other.readline() == f"here 2 {tmp_path} ['stays'] True\n"
        assert stays.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            stays.wait(0.01)
        stays.send_signal(signal.SIGKILL)
        assert stays.wait(SECONDS) == -signal.SIGKILL


def test_each_test_has_a_migrated_database_of_its_own(
    database_url: str, empty_database_url: str
) -> None:
    assert database_url != empty_database_url
    assert migrate.current(database_url) == migrate.head()
    assert migrate.current(empty_database_url) is None


def test_importing_the_plugin_needs_no_docker_daemon() -> None:
    environment = {**os.environ, "DOCKER_HOST": "tcp://127.0.0.1:1"}

    subprocess.run(
        [sys.executable, "-c", "import pytest_celery.plugin"], env=environment, check=True
    )
