"""Celery's configuration: queues, times, what beat sends, and the names of its tasks.

Those tasks have no payload: nobody asks for them but the workers themselves.
"""

import ssl
from typing import Any

from celery.schedules import crontab, schedule
from kombu import Queue as KombuQueue

from bespoke_schemas.optimization import FINETUNES
from bespoke_schemas.queues import Queue, members
from bespoke_workers import settings
from bespoke_workers.errors import Misconfigured
from bespoke_workers.keys import MEMBERS, UNACKED
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.optimization.choosing.tiers import FINETUNING, TABLES, Table
from bespoke_workers.optimization.language_model.prices import Prices

RUN_OPTIMIZATION = "bespoke.optimization.run"
REAP = "bespoke.upkeep.reap"
NIGHTLY_TIER = "bespoke.upkeep.nightly_tier"
PRUNE = "bespoke.upkeep.prune"
NIGHTLY_AGE = "bespoke.upkeep.nightly_age"
NIGHTLY_CLEANUP = "bespoke.upkeep.nightly_cleanup"
GO_ON = "bespoke.upkeep.go_on"
REEMBED = "bespoke.upkeep.reembed"
TRACK = "bespoke.upkeep.track"
REVOKED = "bespoke.upkeep.revoked"
TASK_MODULES = ("memories", "programs", "examples", "optimization", "exports", "jobs", "upkeep")

MEMBER_SECONDS = 4.0
"""A worker silent or busy for so long leaves its shards to the others."""
SHORT_JOB_SECONDS = 120.0
"""A short job that takes longer is stopped and fails: it would hold up its queue."""
EXPORT_SECONDS = 600.0
"""For what reads or writes a file of many rows on a storage that may be slow; such jobs have a
queue of their own."""
REAP_EVERY_SECONDS = 10.0
REAP_LATE_SECONDS = 60.0
"""So late a look for lost runs is still done: where every job waits a little, or a worker's clock
is ahead of beat's, none would be done otherwise."""
REEMBED_EVERY_SECONDS = 60.0
TRACK_EVERY_SECONDS = 30.0


def configuration(config: settings.Settings) -> dict[str, Any]:
    """Return Celery's configuration; raises Misconfigured naming what is missing or wrong."""
    settings.refuse_overrides()
    Defaults.from_settings(config)  # a wrong one would else fail each job of the memories
    check_tiers(config)
    Prices.from_settings(config)
    return {
        "broker_url": config.broker(),
        "result_backend": config.results(),
        "broker_transport": "bespoke_workers.transport:Transport",
        "broker_transport_options": {
            "visibility_timeout": config.claim_timeout_s,
            "unacked_restore_interval": max(config.claim_timeout_s / 3, 0.5),
            # Not kombu's own names: another Celery application on the same Redis does not
            # renew what it holds, and would have its long tasks delivered again.
            "unacked_key": UNACKED,
            "unacked_index_key": f"{UNACKED}_index",
            "sharded_queues": members(Queue.MEMORIES),
            "members_key": MEMBERS,
            "member_timeout": min(MEMBER_SECONDS, config.claim_timeout_s),
            # Other jobs are stopped before that; a long one is held by its lease.
            "longest_task": EXPORT_SECONDS + SHORT_JOB_SECONDS,
        },
        "broker_use_ssl": _tls(config.broker()),
        "redis_backend_use_ssl": _tls(config.results()),
        "broker_connection_retry_on_startup": True,
        "task_queues": [
            KombuQueue(name, routing_key=name) for family in Queue for name in members(family)
        ],
        "task_default_queue": str(Queue.UPKEEP),
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "result_expires": config.result_ttl_hours * 3600,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 8,
        "worker_send_task_events": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "enable_utc": True,
        "timezone": config.timezone,
        "imports": [f"bespoke_workers.tasks.{name}" for name in TASK_MODULES],
        "beat_schedule": beat_entries(config),
        "beat_scheduler": "bespoke_workers.schedule:Schedule",
        "beat_schedule_filename": str(config.home / "beat-schedule"),
    }


def _tls(url: str) -> dict[str, Any] | None:
    """Check the certificate of a rediss:// server, which Celery by itself does not."""
    wanted = url.startswith("rediss://") and "ssl_cert_reqs" not in url
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED} if wanted else None


def check_tiers(config: settings.Settings) -> None:
    """Raise Misconfigured where the table of tiers is wrong.

    Only an own table with options costs the import of DSPy, which knows what they may be.
    """
    table = Table.from_settings(config)
    tunes = next((band.tier for band in table.bands if band.optimizer == FINETUNES), None)
    if tunes is not None and config.finetune_provider is None:
        raise Misconfigured(
            f"BESPOKE_TIERS: tier {tunes!r} fine-tunes, and BESPOKE_FINETUNE_PROVIDER is not set; "
            "set it to openai or local, or give the tier another optimizer"
        )
    if table not in (*TABLES.values(), FINETUNING) and any(band.options for band in table.bands):
        from bespoke_workers.optimization.choosing import choices

        choices.check_table(table)


def beat_entries(config: settings.Settings) -> dict[str, dict[str, Any]]:
    """Return the schedule. Each entry's job is unique by its date, so two beats do no harm."""
    hour, minute = config.nightly
    entries: dict[str, dict[str, Any]] = {
        f"nightly-{tier}": {
            "task": NIGHTLY_TIER,
            "schedule": crontab(hour=str(hour), minute=str(minute)),
            "kwargs": {"tier": tier},
        }
        for tier in Table.from_settings(config).optimized
    }
    entries["nightly-age"] = {
        "task": NIGHTLY_AGE,
        "schedule": crontab(hour=str((hour + 1) % 24), minute=str(minute)),
    }
    entries["nightly-cleanup"] = {
        "task": NIGHTLY_CLEANUP,
        # After the batches of the night have had two hours for the versions that they save.
        "schedule": crontab(hour=str((hour + 2) % 24), minute=str(minute)),
    }
    entries["nightly-prune"] = {
        "task": PRUNE,
        "schedule": crontab(hour=str((hour + 2) % 24), minute=str(minute)),
    }
    entries["reap-lost-runs"] = {
        "task": REAP,
        "schedule": schedule(REAP_EVERY_SECONDS),
        # After hours without a worker, thousands of reaps would have to be done.
        "options": {"expires": REAP_LATE_SECONDS},
    }
    entries["reembed-older-spaces"] = {
        "task": REEMBED,
        "schedule": schedule(REEMBED_EVERY_SECONDS),
        "options": {"expires": REEMBED_EVERY_SECONDS},
    }
    if config.mlflow() is not None:
        entries["tell-mlflow"] = {
            "task": TRACK,
            "schedule": schedule(TRACK_EVERY_SECONDS),
            "options": {"expires": TRACK_EVERY_SECONDS},
        }
    return entries
