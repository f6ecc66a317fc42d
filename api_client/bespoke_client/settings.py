"""Where the broker and the results are: arguments, environment, or the local stack's file."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from bespoke_client.errors import NotConfigured

BROKER_SETTING = "BESPOKE_BROKER_URL"
RESULT_SETTING = "BESPOKE_RESULT_URL"
HOME_SETTING = "BESPOKE_HOME"
STACK_FILE = "stack.json"
SCHEMES = ("redis", "rediss")
EXAMPLE = "redis://:PASSWORD@HOST:6379/0"


@dataclass(frozen=True)
class Address:
    """The URL of a Redis, and the setting that it came from. Shows no password."""

    url: str = field(repr=False)
    source: str

    def __post_init__(self) -> None:
        """Raise NotConfigured, naming the setting, unless the URL can be used."""
        problem = _problem(self.url)
        if problem:
            raise NotConfigured(f"{self.source} {problem}; give a URL such as {EXAMPLE}")

    @property
    def shown(self) -> str:
        """The URL as it may be shown: with *** where a password stands."""
        parts = urlsplit(self.url)
        secret, at, place = parts.netloc.rpartition("@")
        user, colon, _ = secret.partition(":")
        query = [(name, value if name == "db" else "***") for name, value in parse_qsl(parts.query)]
        netloc = f"{user}{colon}{'***' if colon else ''}{at}{place}"
        return urlunsplit(parts._replace(netloc=netloc, query=urlencode(query, safe="*")))

    def __str__(self) -> str:
        return self.shown


@dataclass(frozen=True)
class Settings:
    """The two addresses that a client needs."""

    broker: Address
    results: Address


def read_settings(
    broker_url: str | None = None,
    result_url: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Return the addresses: the arguments', else the environment's, else the local stack's.

    Results are read where the broker is unless something else is said; a ``broker_url`` given
    as an argument brings its own results with it, whatever the environment says.
    Raises NotConfigured if there is no address, or none that can be used.
    """
    broker = _broker(broker_url, environment)
    if result_url is not None:
        return Settings(broker, Address(result_url, "result_url"))
    if broker_url is None and environment.get(RESULT_SETTING):
        return Settings(broker, Address(environment[RESULT_SETTING], RESULT_SETTING))
    return Settings(broker, broker)


def _broker(argument: str | None, environment: Mapping[str, str]) -> Address:
    if argument is not None:
        return Address(argument, "broker_url")
    if environment.get(BROKER_SETTING):
        return Address(environment[BROKER_SETTING], BROKER_SETTING)
    home = Path(environment.get(HOME_SETTING) or "~/.bespoke").expanduser()
    return _local_stack(home / STACK_FILE)


def _local_stack(path: Path) -> Address:
    advice = f"set {BROKER_SETTING} to a URL such as {EXAMPLE}, or run `bespoke up`"
    try:
        stack = json.loads(path.read_text(encoding="utf-8"))
        url, pid = str(stack["broker_url"]), int(stack["pid"])
    except FileNotFoundError:
        raise NotConfigured(f"no broker is set and no local stack runs; {advice}") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise NotConfigured(f"{path} does not describe a local stack; {advice}") from None
    if not _alive(pid):
        raise NotConfigured(f"the local stack of {path} has ended (process {pid}); {advice}")
    return Address(url, f"broker_url in {path}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's process is a process
    return True


def _problem(url: str) -> str | None:
    """Say what is wrong with a URL, repeating none of it but its scheme."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in SCHEMES:
        return f"has the scheme {parts.scheme!r}, expected one of {', '.join(SCHEMES)}"
    if not host:
        return "names no host"
    if not parts.path.strip("/").isdecimal() and parts.path.strip("/"):
        return "has a path that is not the number of a database"
    return None
