"""The provider behind OpenAI's protocol of files and fine-tuning jobs, with OpenAI's own client.

Whatever is begun there carries the run's id, in the file's name and the job's metadata. So it is
found again although the worker died before it could write down the provider's own ids.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Final
from uuid import UUID

import openai

from bespoke_workers.errors import Misconfigured, Refused, Transient
from bespoke_workers.optimization.finetuning.provider import (
    Begun,
    Leftover,
    Note,
    ProviderName,
    Trained,
    Training,
)
from bespoke_workers.programs.model_endpoint import Endpoint

SECONDS: Final = 60.0  # for one answer; training data is a few MiB at most
LOOKED_THROUGH: Final = 1000
"""The newest files and jobs among which one is sought; a worker that died was there lately."""
MARK: Final = "bespoke_run"
QUOTED: Final = 12
"""Characters in a row that a provider's words may share with the training data."""
ENDED: Final = ("succeeded", "failed", "cancelled")

_CODE: Final = re.compile(r"[\w.-]{1,60}")


class OpenAIProvider:
    """Trains at a server of OpenAI's protocol."""

    name: ProviderName = "openai"

    def __init__(self, endpoint: Endpoint, base_model: str) -> None:
        self._endpoint = endpoint
        self.base_model = base_model
        self._client: openai.OpenAI
        self.api_base: str | None = endpoint.api_base

    def begin(self, training: Training, begun: Begun, note: Note) -> Begun:
        """Upload the calls and start the training, each unless it is there."""
        with self._asking():
            file_id = begun.file_id or self._found_file(training.job_id) or self._upload(training)
            note(Begun(file_id, begun.remote_id))
            job = None if begun.remote_id else self._found_job(training.job_id)
            remote_id = begun.remote_id or (job or self._start(training, file_id)).id
        note(Begun(file_id, remote_id))
        return Begun(file_id, remote_id)

    def look(self, training: Training, begun: Begun) -> Trained | None:
        """Ask how far the training is."""
        with self._asking():
            job = self._client.fine_tuning.jobs.retrieve(str(begun.remote_id))
        if job.status == "succeeded" and job.fine_tuned_model:
            return Trained(job.fine_tuned_model, job.trained_tokens)
        if job.status in {"failed", "cancelled"}:
            raise Refused(f"the provider's training {job.status}: {_reason(job.error, training)}")
        return None

    def remove(self, leftover: Leftover) -> None:
        """Cancel the training if it goes on, and delete the model and the file."""
        with self._asking():
            jobs = self._client.fine_tuning.jobs
            job = self._left_job(leftover)
            if job is not None and job.status not in ENDED:
                with suppress(openai.BadRequestError):  # it ended by itself meanwhile
                    jobs.cancel(job.id)
                job = jobs.retrieve(job.id)
            model = leftover.name or (job.fine_tuned_model if job is not None else None)
            if model:
                with suppress(openai.NotFoundError):
                    self._client.models.delete(model)
            file_id = leftover.begun.file_id or self._found_file(leftover.job_id)
            if file_id:
                with suppress(openai.NotFoundError):
                    self._client.files.delete(file_id)

    def _upload(self, training: Training) -> str:
        named = (_file_name(training.job_id), training.content)
        return self._client.files.create(file=named, purpose="fine-tune").id

    def _start(self, training: Training, file_id: str) -> Any:
        return self._client.fine_tuning.jobs.create(
            model=self.base_model,
            training_file=file_id,
            metadata={MARK: str(training.job_id)},
            extra_headers={"Idempotency-Key": str(training.job_id)},
        )

    def _found_file(self, job_id: UUID) -> str | None:
        files = self._client.files.list(purpose="fine-tune", order="desc")
        name = _file_name(job_id)
        return next((f.id for f in islice(files, LOOKED_THROUGH) if f.filename == name), None)

    def _found_job(self, job_id: UUID) -> Any | None:
        jobs = islice(self._client.fine_tuning.jobs.list(), LOOKED_THROUGH)
        mark = str(job_id)
        return next((one for one in jobs if (one.metadata or {}).get(MARK) == mark), None)

    def _left_job(self, leftover: Leftover) -> Any | None:
        if leftover.begun.remote_id is None:
            return self._found_job(leftover.job_id)
        try:
            return self._client.fine_tuning.jobs.retrieve(leftover.begun.remote_id)
        except openai.NotFoundError:
            return None

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Open the client, close its connections at the end, and make its errors ours.

        None of their texts is told, which may quote examples.
        """
        base = self._endpoint.api_base
        # Whoever calls it tries again, and looks first for what an answer that was lost began.
        client = openai.OpenAI(
            api_key=self._endpoint.key, base_url=base, max_retries=0, timeout=SECONDS
        )
        try:
            with client as self._client:
                yield
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise Misconfigured(
                f"BESPOKE_FINETUNE_API_KEY: {base} refused the key ({error.status_code}); set it "
                "to a key that may fine-tune there"
            ) from None
        except openai.NotFoundError:
            raise Misconfigured(
                f"BESPOKE_FINETUNE_API_BASE: {base} has no such thing (404); set it to the URL of "
                "a server that fine-tunes by OpenAI's protocol, such as https://api.openai.com/v1"
            ) from None
        except openai.RateLimitError as error:
            if error.code == "insufficient_quota":
                raise Refused(f"{base}: the account's quota is spent; raise it there") from None
            raise Transient(f"{base} asks to wait (429)") from None
        except (openai.InternalServerError, openai.ConflictError) as error:
            raise Transient(f"{base} fails ({error.status_code})") from None
        except openai.APIConnectionError as error:
            raise Transient(f"{base} cannot be reached ({type(error).__name__})") from None
        except openai.APIStatusError as error:
            raise Refused(
                f"{base} refused the training ({error.status_code}{_coded(error.code)}); check "
                f"BESPOKE_FINETUNE_MODEL, which is {self.base_model!r}"
            ) from None


def _file_name(job_id: UUID) -> str:
    return f"bespoke-{job_id}.jsonl"


def _coded(code: object) -> str:
    return f", {code}" if isinstance(code, str) and _CODE.fullmatch(code) else ""


def _reason(error: Any, training: Training) -> str:
    """Return a provider's reason, its words only where they quote nothing that was trained on."""
    code = getattr(error, "code", None)
    words = " ".join(str(getattr(error, "message", None) or "").split())[:300]
    data = training.content.decode()
    quoting = any(words[at : at + QUOTED] in data for at in range(len(words) - QUOTED + 1))
    told = [one for one in (_coded(code)[2:], "" if quoting else words) if one]
    return ": ".join(told) or "it gave no reason"
