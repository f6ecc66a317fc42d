"""Log lines: one line for each event, in JSON or for a terminal, by structlog."""

import logging
import sys
import traceback
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(level: int = logging.INFO, *, json: bool | None = None) -> None:
    """Send structlog's and the standard library's lines to standard error, one format for both.

    ``json``: None means a terminal gets text and anything else JSON lines.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,  # first: a line that nobody sees costs nothing
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=list(_SHARED),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _without_messages,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("sqlalchemy.engine", "httpx", "LiteLLM", "dspy", "alembic"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def quiet(name: str) -> Any:
    """Return a logger that says nothing below a warning until logging is configured.

    structlog's own would print each line to standard output in an application that only uses us.
    """
    return structlog.wrap_logger(
        logging.getLogger(name), wrapper_class=structlog.stdlib.BoundLogger
    )


def places(error: BaseException) -> list[str]:
    """Return where an exception came from, innermost last, without its message.

    A message may hold what a user said (``KeyError('my password')``); a line number cannot.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _without_messages(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace exceptions by their types and places."""
    info = event.pop("exc_info", None)
    error = info if isinstance(info, BaseException) else None
    if isinstance(info, tuple):
        error = info[1]
    elif info is True:
        error = sys.exc_info()[1]
    if error is not None:
        event["error"] = type(error).__name__
        event["places"] = places(error)
    event.pop("exception", None)
    return event
