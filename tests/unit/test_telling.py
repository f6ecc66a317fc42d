"""How far a job is reaches those who watch it, now and then, and never fails the job."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from bespoke_schemas import exports
from bespoke_schemas.jobs import Progress
from bespoke_workers.runtime import Runtime
from bespoke_workers.tasks import telling

PAYLOAD = exports.ExportPrograms()


class Watched:
    """A runtime whose outbox keeps what it is told, or is away."""

    def __init__(self, *, away: bool = False) -> None:
        self.told: list[tuple[UUID, str, int]] = []
        self.away = away
        self.outbox: Any = self

    def progress(self, job_id: UUID, task: str, progress: Progress) -> None:
        if self.away:
            raise ConnectionError("redis://:hunter2@host")
        self.told.append((job_id, task, progress.done))


def test_only_now_and_then_is_told_how_far_a_job_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 0.1, 0.3, 0.3, 0.4])
    monkeypatch.setattr(telling, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    watched = Watched()
    tell = telling.to_watchers(cast("Runtime", watched), PAYLOAD)

    for done in range(4):
        tell(Progress(done=done))

    assert watched.told == [(PAYLOAD.id, PAYLOAD.task, 0), (PAYLOAD.id, PAYLOAD.task, 2)]


def test_a_job_goes_on_where_progress_cannot_be_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell = telling.to_watchers(cast("Runtime", Watched(away=True)), PAYLOAD)

    tell(Progress(done=1))

    assert "hunter2" not in capsys.readouterr().out
