"""A stand-in for a language model: a loopback server that speaks the OpenAI protocol.

It knows nothing by itself. Its answers depend on the prompt alone (see ``answers``),
so a program whose prompt shows better examples scores better. Nothing is kept of what
it is asked except the number of calls.

``python -m examples.support_desk.standin_lm --port 0`` prints its URL when it is ready.
Started with a pipe as its standard input, it ends when that pipe is closed, so it
never outlives the program that started it.
"""

import argparse
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from examples.support_desk import answers, prompts

MODEL = "standin"
MODULE = "examples.support_desk.standin_lm"  # __name__ is another when it is run
ROOT = Path(__file__).parents[2]
CHARACTERS_PER_TOKEN = 4  # the usual rule of thumb; usage is counted with it
LARGEST_REQUEST = 16 * 1024 * 1024  # bytes
STARTUP_TIMEOUT = timedelta(seconds=30)
SHUTDOWN_SECONDS = 0.02  # how late it sees that it is to end
NO_HEADERS: Mapping[str, str] = {}


Answer = Callable[[prompts.Prompt], str]
"""Makes the reply to a prompt."""


class BadRequestError(ValueError):
    """A request that is not a chat completion: what was wrong, in one line."""


class RefusedError(Exception):
    """Raised by an ``Answer`` to refuse a request, as a server does that is asked too much."""

    def __init__(self, status: HTTPStatus, retry_after_s: float | None = None) -> None:
        super().__init__(status.phrase)
        self.status = status
        self.headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}


def complete(request: object, answer: Answer = answers.answer) -> dict[str, Any]:
    """Answer the body of one chat completion request with the body of its response.

    Raises BadRequestError unless ``messages`` is a list of objects with role and content.
    """
    messages = _messages(request)
    reply = answer(prompts.read(messages))
    asked = sum(_tokens(message["content"]) for message in messages)
    return {
        "id": f"chatcmpl-{time.monotonic_ns():x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": _tokens(reply),
            "total_tokens": asked + _tokens(reply),
        },
    }


def _messages(request: object) -> list[prompts.Message]:
    messages = request.get("messages") if isinstance(request, dict) else None
    if not isinstance(messages, list) or not messages:
        raise BadRequestError("messages must be a list that is not empty")
    if any(not isinstance(message, dict) for message in messages):
        raise BadRequestError("each of messages must be an object with role and content")
    return [
        {"role": str(message.get("role")), "content": _text(message.get("content"))}
        for message in messages
    ]


def _text(content: object) -> str:
    if isinstance(content, list):  # content parts, of which only texts are read
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, latency: timedelta, answer: Answer) -> None:
        super().__init__(("127.0.0.1", port), _Exchange)
        self.latency = latency
        self.answer = answer
        self.calls = 0
        self._counting = threading.Lock()

    def count(self) -> None:
        with self._counting:
            self.calls += 1

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a client hangs up; report anything else by its type alone."""
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            sys.stderr.write(f"stand-in LM: {type(error).__name__} while answering\n")


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as DSPy's client expects
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together
    server: _Server

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self._refuse(HTTPStatus.NOT_FOUND, f"no such path: {self.path!r}")
        return self._reply(
            HTTPStatus.OK,
            {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "local"}]},
        )

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST_REQUEST:
            self.close_connection = True  # its body stays unread
            return self._refuse(HTTPStatus.BAD_REQUEST, f"bad Content-Length: {length!r}")
        body = self.rfile.read(int(length))
        if self.path != "/v1/chat/completions":
            return self._refuse(HTTPStatus.NOT_FOUND, f"no such path: {self.path!r}")
        try:
            completion = complete(json.loads(body), self.server.answer)
        except BadRequestError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except RefusedError as error:
            return self._refuse(error.status, str(error), error.headers)
        except ValueError:
            return self._refuse(HTTPStatus.BAD_REQUEST, "the body is not JSON")
        self.server.count()
        time.sleep(self.server.latency.total_seconds())
        return self._reply(HTTPStatus.OK, completion)

    def _refuse(
        self, status: HTTPStatus, message: str, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        error = {"error": {"message": message, "type": "invalid_request_error"}}
        self._reply(status, error, headers)

    def _reply(
        self, status: HTTPStatus, value: dict[str, Any], headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # inherited
        """Log nothing: requests hold examples."""


class StandinLM:
    """The stand-in in a thread of this process: ``with StandinLM() as lm: lm.url``."""

    def __init__(
        self, port: int = 0, latency: timedelta = timedelta(), answer: Answer = answers.answer
    ) -> None:
        """Bind a port of the loopback interface; 0 takes a free one. Raises OSError.

        ``answer`` makes the replies, in one thread for each connection.
        """
        self._server = _Server(port, latency, answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=[SHUTDOWN_SECONDS], daemon=True
        )

    @property
    def url(self) -> str:
        """The base URL, as ``api_base`` of ``dspy.LM`` and BESPOKE_LM_API_BASE take it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def calls(self) -> int:
        """How many completions were answered."""
        return self._server.calls

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def standin_process(latency: timedelta = timedelta()) -> Iterator[str]:
    """Run the stand-in as a process of its own and yield its URL.

    Ctrl-C at the terminal does not reach it: it ends after the programs that use it,
    with this context or with this process. Raises RuntimeError if it does not start.
    """
    milliseconds = str(latency / timedelta(milliseconds=1))
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, "--port", "0", "--latency-ms", milliseconds],
        cwd=ROOT,  # where Python finds the module
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the stand-in LM did not start: exit code {process.wait()}")
        yield url
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=STARTUP_TIMEOUT.total_seconds())


def _wait_for_the_end() -> None:
    """Return when the pipe from the parent is closed; without such a pipe, never."""
    if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
        sys.stdin.buffer.read()
    else:
        threading.Event().wait()


def main(arguments: list[str] | None = None) -> int:
    """Serve until the parent ends or Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(prog="standin_lm", description="A stand-in language model.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="wait before each answer")
    chosen = parser.parse_args(arguments)
    try:
        standin = StandinLM(chosen.port, timedelta(milliseconds=chosen.latency_ms))
    except (OSError, OverflowError) as error:
        parser.exit(2, f"standin_lm: cannot listen on port {chosen.port}: {error}\n")
    with standin:
        print(standin.url, flush=True)
        try:
            _wait_for_the_end()
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
