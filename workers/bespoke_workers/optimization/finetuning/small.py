"""The provider on this machine: a small model, trained at once on one processor."""

import json
from typing import Final

from bespoke_schemas.small_model import NotLearnable, SmallModel
from bespoke_workers.errors import Refused
from bespoke_workers.optimization.finetuning.provider import (
    Begun,
    Leftover,
    Note,
    ProviderName,
    Trained,
    Training,
)
from bespoke_workers.programs import user_models
from bespoke_workers.settings import Settings
from bespoke_workers.storage.failures import translated
from bespoke_workers.storage.files import Writer, exists
from bespoke_workers.storage.places import Place, Storage

BASE_MODEL: Final = "naive-bayes"


class LocalProvider:
    """Trains small models, and keeps each as a file in the storage."""

    name: ProviderName = "local"
    base_model = BASE_MODEL
    api_base = None

    def __init__(self, settings: Settings) -> None:
        self._storage = Storage(settings.storage)

    def begin(self, training: Training, begun: Begun, note: Note) -> Begun:
        """Train the model and write its file, over one that a worker before wrote."""
        try:
            model = SmallModel.trained(training.lines)
        except NotLearnable as error:
            raise Refused(str(error)) from None
        place = self._place(training)
        writer = Writer(user_models.SMALL, self._storage, place, str(training.job_id))
        try:
            writer.open()
            writer.write([json.dumps(model.stored(), separators=(",", ":")).encode() + b"\n"])
            writer.finish()
        except BaseException:
            writer.abort()
            raise
        return begun

    def look(self, training: Training, begun: Begun) -> Trained | None:
        """Return the model, which is there as soon as it was begun."""
        return Trained(str(training.job_id))

    def remove(self, leftover: Leftover) -> None:
        """Delete the model's file."""
        place = self._place(leftover)
        with translated(place.url, user_models.SMALL.noun):
            if exists(user_models.SMALL, self._storage, place):
                self._storage.remove(user_models.name(leftover.user_id, leftover.job_id))

    def _place(self, about: Training | Leftover) -> Place:
        return user_models.place(self._storage, about.user_id, about.job_id)
