"""Every setting, read once. Nothing else reads the environment."""

import json
import os
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bespoke_workers.errors import Misconfigured

PREFIX = "BESPOKE_"
DATABASE_SCHEME = "postgresql+asyncpg"
REDIS_FORM = "redis://:password@host:6379/0"
BROKER_SCHEMES = ("redis", "rediss")
MLFLOW_SCHEMES = ("http", "https")
SIGNING_KEY_LENGTH = 32  # characters; fewer could be guessed
LONGEST_DAYS = 36_500  # a moment too long ago is no date, and each job would fail on it
EARLY = timedelta(hours=2)
"""A night begins so long before its hour: clocks differ, and change by an hour."""

Days = Annotated[int, Field(ge=1, le=LONGEST_DAYS)]
Seconds = Annotated[float, Field(gt=0, le=1e9)]


class Settings(BaseSettings):
    """The settings of a worker, each ``BESPOKE_`` + its name in the environment.

    Without URLs, those of the local stack that runs on ``home`` are used.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr | None = None
    broker_url: SecretStr | None = None
    result_url: SecretStr | None = None
    storage_url: str | None = None  # any fsspec URL; None: HOME/storage
    embedder: str | None = None  # None: the lexical default
    similarity_threshold: float | None = Field(default=None, ge=-1, le=1)  # None: the embedder's
    lm: str | None = None
    lm_api_base: str | None = None
    lm_api_key: SecretStr | None = None
    lm_temperature: float = 0.0
    lm_rate: float | None = Field(default=None, gt=0)  # calls a minute, of all workers together
    lm_token_rate: float | None = Field(default=None, gt=0)  # tokens a minute, likewise
    finetune_provider: Literal["local", "openai"] | None = None  # None: nothing is fine-tuned
    finetune_model: str | None = None  # that is fine-tuned; None: the one of ``lm``
    finetune_api_base: str | None = None  # None: ``lm_api_base``
    finetune_api_key: SecretStr | None = None  # None: ``lm_api_key``, if the server is the same
    finetune_seconds: Seconds = 86_400.0  # deadline of a run that fine-tunes
    finetune_usd_per_million: float | None = Field(default=None, ge=0, le=1e6)  # trained tokens
    signing_key: SecretStr | None = None  # of whole programs
    allow_whole_programs: bool = False  # to load them, which runs code
    programs: Annotated[tuple[str, ...], NoDecode] = ()  # modules to import, comma-separated
    home: Path = Path("~/.bespoke")
    timezone: str = "UTC"

    max_memories: int = Field(default=1000, ge=1)
    max_age_days: Days = 90
    low_access_threshold: float = Field(default=0.1, ge=0, le=1)
    dedup_guard: bool = True
    eviction: Literal["oldest", "redundant"] = "oldest"
    scoring: str = "default"  # a function that a module of ``programs`` registers
    compaction: Literal["inline", "background"] = "inline"
    kind_policies: Annotated[dict[str, dict[str, Any]], NoDecode] = Field(default_factory=dict)
    policy_rollout: str | None = None  # preset:percentage of the users without one of their own
    index_cache_mib: int = Field(default=256, ge=1)  # per worker process
    program_cache: int = Field(default=256, ge=1)  # modules that for_user keeps, per process
    result_ttl_hours: int = Field(default=24, ge=1, le=24 * LONGEST_DAYS)
    export_before_share: float | None = Field(default=None, ge=0, le=1)  # None: never
    archive_days: Days = 30
    job_retention_days: Days = 30
    run_retention_days: Days = 365  # of runs and batches that ended
    max_deliveries: int = Field(default=5, ge=1)  # then the job is parked
    claim_timeout_s: Seconds = 30.0  # a dead worker's messages return after it
    max_examples: int = Field(default=1000, ge=1)  # of one user and program
    reoptimize_every: int = Field(default=10, ge=0)  # new examples; 0: feedback never does
    reoptimize_minimum: int = Field(default=5, ge=1)  # examples there must be
    lease_s: Seconds = 60.0  # of an optimization, renewed every third of it
    tiers: str = "standard"  # or recommended, or a table of one's own as JSON
    optimization_seconds: Seconds = 3600.0  # deadline of one user's run
    optimization_lm_calls: int | None = Field(default=None, ge=1)  # that one run may pay for
    optimization_tokens: int | None = Field(default=None, ge=1)  # asked and answered, of one run
    optimization_usd: float | None = Field(default=None, ge=0.0001)  # of one run
    prices: str | None = None  # of models, as JSON or the path of a file; None: as packaged
    max_stored_programs: int = Field(default=100, ge=1)  # versions of one owner and program
    auto_save: bool = True  # a version that an optimization made and did not promote
    save_intermediate_results: bool = False  # checkpoints of optimizations that run
    checkpoint_every: int = Field(default=10, ge=1)  # evaluations
    nightly_at: str = "02:00"  # local time in ``timezone``
    nightly_max_concurrent: int = Field(default=4, ge=1)
    nightly_max_lm_calls: int | None = Field(default=None, ge=1, le=10**12)  # of each nightly batch
    nightly_max_usd: float | None = Field(default=None, ge=0.0001, le=1e9)
    nightly_max_seconds: float | None = Field(default=None, ge=1, le=1e9)
    mlflow_uri: SecretStr | None = None  # of a tracking server; None: nothing is tracked
    mlflow_state: bool = False  # whether MLflow also gets each new version's state
    database_pool: int = Field(default=4, ge=1)  # connections of one worker process
    flower_port: int = Field(default=5555, ge=0, le=65535)
    flower_basic_auth: SecretStr | None = None  # user:password

    @field_validator("home", mode="after")
    @classmethod
    def _expand(cls, home: Path) -> Path:
        try:
            return home.expanduser().absolute()
        except RuntimeError:
            raise ValueError(
                f"got {str(home)!r}, whose user is unknown; give a directory"
            ) from None

    @field_validator("signing_key", mode="after")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < SIGNING_KEY_LENGTH:
            raise ValueError(
                f"is shorter than {SIGNING_KEY_LENGTH} characters; set it to what "
                "`openssl rand -hex 32` prints"
            )
        return key

    @field_validator("programs", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("kind_policies", mode="before")
    @classmethod
    def _fields_by_kind(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError(
                """is not JSON; give fields by kind, like {"smalltalk": {"max_age_days": 7}}"""
            ) from None

    @field_validator("timezone", mode="after")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(
                f"no such time zone: {name!r}; give one like 'Europe/Berlin'"
            ) from None
        return name

    @field_validator("nightly_at", mode="after")
    @classmethod
    def _clock(cls, value: str) -> str:
        hour, _, minute = value.partition(":")
        if not (hour.isdigit() and minute.isdigit() and int(hour) < 24 and int(minute) < 60):
            raise ValueError(f"got {value!r}; give a time of day like '02:00'")
        return value

    @property
    def nightly(self) -> tuple[int, int]:
        """Hour and minute of the nightly batches, in ``timezone``."""
        hour, _, minute = self.nightly_at.partition(":")
        return int(hour), int(minute)

    def night(self, moment: datetime) -> date:
        """Return the night to which a moment belongs, by the day on which its hour comes.

        What is late belongs to the night it was meant for, after midnight too.
        """
        hour, minute = self.nightly
        clock = moment.astimezone(ZoneInfo(self.timezone)).replace(tzinfo=None)
        return (clock - timedelta(hours=hour, minutes=minute) + EARLY).date()

    @property
    def lease(self) -> timedelta:
        """How long a claimed optimization is its worker's without a renewal."""
        return timedelta(seconds=self.lease_s)

    @property
    def storage(self) -> str:
        """The fsspec URL under which bundles lie."""
        return self.storage_url or f"file://{self.home / 'storage'}"

    def database(self) -> str:
        """Return the database URL; raises Misconfigured where it is missing or wrong."""
        url = _reveal(self.database_url) or self._local("database_url")
        if url is None:
            raise Misconfigured(
                _missing("DATABASE_URL", "postgresql+asyncpg://user:password@host/db")
            )
        scheme = _scheme(url)
        if scheme != DATABASE_SCHEME:
            raise Misconfigured(
                f"{PREFIX}DATABASE_URL: got a URL of scheme {scheme!r}, expected "
                f"{DATABASE_SCHEME!r}; set it to postgresql+asyncpg://user:password@host/db"
            )
        return url

    def broker(self) -> str:
        """Return the broker's URL; raises Misconfigured where it is missing or wrong."""
        url = _reveal(self.broker_url) or self._local("broker_url")
        if url is None:
            raise Misconfigured(_missing("BROKER_URL", REDIS_FORM))
        return _checked_redis(url, "BROKER_URL")

    def results(self) -> str:
        """Return the result backend's URL: the broker's unless it is set."""
        url = _reveal(self.result_url)
        return self.broker() if url is None else _checked_redis(url, "RESULT_URL")

    def mlflow(self) -> str | None:
        """Return the URL of the MLflow tracking server, if there is one.

        Raises Misconfigured where it is not an HTTP URL.
        """
        url = _reveal(self.mlflow_uri)
        if url is not None and (_scheme(url) not in MLFLOW_SCHEMES or not _leads_to_a_host(url)):
            raise Misconfigured(
                f"{PREFIX}MLFLOW_URI: not the URL of an MLflow tracking server; set it to "
                "https://host:5000, or https://user:password@host:5000"
            )
        return url

    def _local(self, key: str) -> str | None:
        try:
            address = json.loads((self.home / "stack.json").read_text())
            value = address[key]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return value if isinstance(value, str) else None


@cache
def load() -> Settings:
    """Read the settings once for this process; raises Misconfigured naming what is wrong."""
    return read()


def read() -> Settings:
    """Read the settings afresh; raises Misconfigured naming what is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise Misconfigured(f"{name}: {reason}") from None


def refuse_overrides() -> None:
    """Raise Misconfigured where Celery would use another broker than the one set here.

    Celery prefers these variables to any configuration of an application.
    """
    for name, ours in (
        ("CELERY_BROKER_URL", "BROKER_URL"),
        ("CELERY_RESULT_BACKEND", "RESULT_URL"),
    ):
        if os.environ.get(name):
            raise Misconfigured(
                f"{name} is set, which Celery would use in place of {PREFIX}{ours}; unset it"
            )


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret and secret.get_secret_value() else None


def _missing(name: str, form: str) -> str:
    return (
        f"{PREFIX}{name} is not set and no local stack runs; set it to {form} or run `bespoke up`"
    )


def _scheme(url: str) -> str:
    """Return what stands before ://; before a mere colon may stand a password."""
    scheme, found, _ = url.partition("://")
    return scheme if found else ""


def _checked_redis(url: str, name: str) -> str:
    scheme = _scheme(url)
    if scheme not in BROKER_SCHEMES:
        raise Misconfigured(
            f"{PREFIX}{name}: got a URL of scheme {scheme!r}, expected one of "
            f"{', '.join(BROKER_SCHEMES)}; set it to {REDIS_FORM}"
        )
    if not _leads_to_redis(url):
        raise Misconfigured(
            f"{PREFIX}{name}: its host, port or database number is wrong; set it to {REDIS_FORM}"
        )
    return url


def _leads_to_redis(url: str) -> bool:
    if not _leads_to_a_host(url):
        return False
    number = urlsplit(url).path.strip("/")
    return not number or number.isdecimal()


def _leads_to_a_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return bool(host)
