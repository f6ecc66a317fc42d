"""Models that were trained for users: which version has one, and how a module is given it.

What is told of a model comes from its own row and the settings, never out of a program's state,
its metadata or a bundle: those may be anybody's.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from bespoke_schemas import programs, small_model
from bespoke_schemas.optimization import FINETUNES
from bespoke_schemas.small_model import SmallModel
from bespoke_workers.database.tables import ProgramVersion, UserModel
from bespoke_workers.errors import Refused
from bespoke_workers.observe import events
from bespoke_workers.programs import model_endpoint
from bespoke_workers.programs import state as states
from bespoke_workers.settings import Settings
from bespoke_workers.storage.files import Kind, read_lines
from bespoke_workers.storage.places import Place, Storage

if TYPE_CHECKING:
    import dspy

FOLDER: Final = "user-models"
SMALL: Final = Kind("user's model", 16 * 2**20, 16 * 2**20, "train it with fewer examples")
"""The file of a small model: one line of JSON. A thousand long examples make half a MiB."""


async def model_of(session: AsyncSession, version: ProgramVersion | None) -> UserModel | None:
    """Return the model that a version is called with; None where it has none of its own."""
    if version is None or version.optimizer != FINETUNES:
        return None
    row = UserModel
    found = await session.exec(
        select(row).where(
            row.id == version.id,
            row.user_id == version.user_id,
            row.program == version.program,
            row.state == "trained",
        )
    )
    return found.one_or_none()


def name(user_id: str, model_id: UUID) -> str:
    """Return the name of a small model's file in the storage: under a hash of its user."""
    return f"{FOLDER}/{events.hashed(user_id)}/{model_id}.json.gz"


def place(storage: Storage, user_id: str, model_id: UUID) -> Place:
    """Return where the file of a small model lies."""
    return storage.place(name(user_id, model_id))


class UserModels:
    """Makes language models of rows. What blocks is called in threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._storage = Storage(settings.storage)

    def give(
        self, module: "dspy.Module", row: UserModel, own: Collection[str] | None = None
    ) -> None:
        """Have the ``own`` predictors of a module called with a user's model; None: all of them.

        Raises Refused where the model cannot be reached from here. It blocks.
        """
        model = self.language_model(row)
        for predictor_name, predictor in states.predictors(module).items():
            if own is None or predictor_name in own:
                predictor.lm = model

    def language_model(self, row: UserModel) -> "dspy.LM":
        """Return a user's model as a ``dspy.LM``; raises Refused as ``give`` does. It blocks."""
        if row.provider == "local":
            return small_model.language_model(str(row.id), self._small(row))
        endpoint = model_endpoint.of_row(self._settings, row)
        return endpoint.language_model(cast("str", row.name), self._settings.lm_temperature)

    def told(self, row: UserModel) -> programs.UserModel:
        """Return a user's model as an answer tells it; raises Refused if it is not there."""
        content = self._content(row).decode() if row.provider == "local" else None
        told = {"provider": row.provider, "name": row.name, "base_model": row.base_model}
        return programs.UserModel.model_validate({**told, "content": content})

    def _small(self, row: UserModel) -> SmallModel:
        try:
            return SmallModel.of(self._content(row))
        except ValueError as error:
            raise Refused(f"the file of the user's model {row.id} is damaged: {error}") from None

    def _content(self, row: UserModel) -> bytes:
        return b"".join(read_lines(SMALL, self._storage, place(self._storage, row.user_id, row.id)))
