"""The unprivileged account that PostgreSQL runs under when we are root, which it refuses to be."""

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from bespoke_workers.errors import Misconfigured

NAME = "bespoke-postgres"


class PopenAccount(TypedDict, total=False):
    """The arguments of Popen that change the account; none of them for our own."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """A system account by its numbers."""

    uid: int
    gid: int

    def give(self, path: Path) -> None:
        """Make the account the owner of `path` and let it walk there (search permission only)."""
        os.chown(path, self.uid, self.gid)
        let_through(path)


def unprivileged() -> Account | None:
    """The account for servers that refuse root, made when missing; None if we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        entry = _create()
    return Account(entry.pw_uid, entry.pw_gid)


def run_as(account: Account | None) -> PopenAccount:
    """The arguments for Popen that make a child run under an account, None for our own."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def let_through(path: Path) -> None:
    """Give others search permission, and no more, on the directories above `path`."""
    for directory in path.parents:
        mode = stat.S_IMODE(directory.stat().st_mode)
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)


def _create() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", NAME]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - constant words
    except (OSError, subprocess.CalledProcessError):
        raise Misconfigured(
            f"PostgreSQL does not run as root and the account {NAME!r} could not be created:"
            " run as another user, or set BESPOKE_DATABASE_URL to a server of your own"
        ) from None
    return pwd.getpwnam(NAME)
