"""An embedder at a provider: what does not answer is away, and the job is tried again."""

import socket

import pytest

from bespoke_workers.configuration import SHORT_JOB_SECONDS
from bespoke_workers.errors import Transient
from bespoke_workers.memories import embedding
from bespoke_workers.memories.embedding import load_embedder


def test_a_provider_that_hangs_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "REQUEST_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        host, port = hanging.getsockname()
        monkeypatch.setenv("OPENAI_API_BASE", f"http://{host}:{port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")

        with pytest.raises(Transient, match="'openai/small' could not be reached: Timeout"):
            load_embedder("openai/small")


def test_three_tries_end_within_the_time_of_a_job() -> None:
    assert 3 * embedding.REQUEST_SECONDS + 10 < SHORT_JOB_SECONDS
