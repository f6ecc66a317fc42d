"""Whose the versions of a bundle become that comes from where users are called otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bespoke_workers.programs.bundle_format import Entry


@dataclass(frozen=True)
class Renaming:
    """New ids of users by their old ones. Those that are not named keep theirs.

    With ``only_mapped``, an entry of another user is refused. The shared base is nobody's, and
    neither becomes a user's nor takes a user's versions.
    """

    users: Mapping[str, str] = field(default_factory=dict)
    only_mapped: bool = False

    def of(self, entry: Entry) -> Entry:
        """Return the entry as the new user's; raises ValueError for one that is not mapped."""
        if not self.users and not self.only_mapped:
            return entry
        owner = None if entry.user_id is None else self._new(entry.user_id, "user_id")
        used_by = tuple(self._new(user_id, "used_by") for user_id in entry.used_by)
        return entry.model_copy(update={"user_id": owner, "used_by": used_by})

    def _new(self, user_id: str, place: str) -> str:
        if user_id not in self.users and self.only_mapped:
            raise ValueError(
                f"{place}: users does not map this user; map it, or leave only_mapped away"
            )
        return self.users.get(user_id, user_id)
