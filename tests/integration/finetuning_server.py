"""A server that speaks OpenAI's fine-tuning protocol over real HTTP, for tests.

It trains a small model on what was uploaded and serves it under ``/chat/completions``; everything
that was asked of it is kept.
"""

import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from bespoke_schemas.small_model import SmallModel

KEY = "the key of the provider"
SHUTDOWN_SECONDS = 0.02  # how late it sees that it is to end


@dataclass
class FinetuningServer:
    """What is at the provider. ``hold`` keeps trainings from ending; ``fail`` ends them so."""

    hold: bool = False
    fail: dict[str, Any] | None = None
    errors: list[int] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, SmallModel] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, args=[SHUTDOWN_SECONDS], daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def look(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return a job as it is now; one that is not held has ended."""
        if job["status"] == "running" and not self.hold:
            if self.fail is not None:
                job |= {"status": "failed", "error": self.fail}
            else:
                name = f"ft:{job['model']}:{job['id']}"
                lines = self.files[job["training_file"]]["content"].splitlines()
                self.models[name] = SmallModel.trained(map(json.loads, lines))
                job |= {
                    "status": "succeeded",
                    "fine_tuned_model": name,
                    "trained_tokens": 2_000_000,
                }
        return job

    def answer(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, Any]:
        """Answer a request."""
        *_, resource, last = ["", *path.strip("/").split("/")]
        if path.endswith("/files"):
            return self._upload(body, kind) if method == "POST" else (200, _list(self.files))
        if path.endswith("/fine_tuning/jobs"):
            return self._create(json.loads(body)) if method == "POST" else (200, _list(self.jobs))
        if path.endswith("/cancel") and resource in self.jobs:
            self.jobs[resource]["status"] = "cancelled"
            return 200, self.jobs[resource]
        if path.endswith("/chat/completions"):
            return self._chat(json.loads(body))
        if method == "DELETE":
            there = self.models if resource == "models" else self.files
            return (200, {"id": last}) if there.pop(last, None) else (404, {"error": {}})
        return (200, self.look(self.jobs[last])) if last in self.jobs else (404, {"error": {}})

    def _upload(self, body: bytes, kind: str) -> tuple[int, Any]:
        parts = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        part = next(one for one in parts.get_payload() if one.get_filename())  # type: ignore[union-attr]  # it is multipart
        made: dict[str, Any] = {"id": f"file-{self.asked.total()}", "object": "file"}
        made |= {"filename": part.get_filename(), "purpose": "fine-tune"}  # type: ignore[union-attr]
        self.files[made["id"]] = {**made, "content": part.get_payload(decode=True).decode()}  # type: ignore[union-attr]
        return 200, made

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        job = {**asked, "id": f"ftjob-{len(self.jobs)}", "object": "fine_tuning.job"}
        job |= {"status": "running", "created_at": 0, "error": None, "fine_tuned_model": None}
        self.jobs[job["id"]] = job
        return 200, job

    def _chat(self, asked: dict[str, Any]) -> tuple[int, Any]:
        said = {one["role"]: one["content"] for one in asked["messages"]}
        text = self.models[asked["model"]].answer(said["system"], said["user"])
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return 200, {
            "id": "x", "object": "chat.completion", "created": int(time.time()),
            "model": asked["model"], "choices": [choice], "usage": usage,
        }  # fmt: skip


def _list(there: dict[str, dict[str, Any]]) -> dict[str, Any]:
    newest = [dict(one) for one in reversed(there.values())]
    return {"object": "list", "data": newest, "has_more": False}


def _handler(server: FinetuningServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path.replace("%3A", ":")
            key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            server.keys.add(key)
            server.asked[re.sub(r"(ftjob-|file-|ft:)[\w.:-]+", "*", f"{self.command} {path}")] += 1
            if key != KEY:
                status, answer = 401, {"error": {"message": "wrong"}}
            elif server.errors:
                status, answer = server.errors.pop(0), {"error": {"message": "later"}}
            else:
                kind = self.headers.get("Content-Type") or ""
                status, answer = server.answer(self.command, path, body, kind)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _do  # noqa: N815  # names that the base class calls

        def log_message(self, *_: object) -> None:
            pass

    return Handler
