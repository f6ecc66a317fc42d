"""Where each payload stands on the command line, and which ones are confirmed."""

from typing import Any

from bespoke_schemas import Payload, payload_types

GROUPS = {
    "memories": "Remember, find and compact what users said.",
    "programs": "Save, find and compare versions of programs.",
    "examples": "Add and look at training examples.",
    "batches": "Optimize a tier's users together.",
    "export": "Write what is kept to a file, with progress.",
    "exports": "Take programs and users out, bring them in, and erase users.",
    "jobs": "Look at jobs, follow and stop them.",
}
"""What `bespoke --help` says of each group."""

GROUP_OF = {"optimization": "batches"}
"""Groups of payloads that have another name on the command line."""
OWN = {"optimize": "bespoke.optimization.optimize_user"}
"""Commands outside of any group, and their payloads' tasks."""
OWN_HELP = {"optimize": "Optimize one user's program, with progress."}
NAMES = {
    "bespoke.optimization.list_batches": "list",
    "bespoke.optimization.get_batch": "show",
    "bespoke.optimization.pause_batch": "pause",
    "bespoke.optimization.resume_batch": "resume",
}
"""Payloads whose names would say again what their group says."""
NOT_COMMANDS: dict[str, str] = {}
"""Payloads that are no commands, and why."""

CONFIRMED = ("cleanup", "clear", "delete", "erase")
"""What begins so removes something, so that its command asks first; a dry run removes nothing."""


def commands(group: str) -> dict[str, type[Payload[Any]]]:
    """Return the payloads of a group by the names of their commands."""
    found: dict[str, type[Payload[Any]]] = {}
    for task, kind in payload_types().items():
        if task in OWN.values() or task in NOT_COMMANDS:
            continue
        _, module, name = task.split(".")
        if GROUP_OF.get(module, module) == group:
            found[NAMES.get(task, name).replace("_", "-")] = kind
        if (group, module) == ("export", "exports") and name.startswith("export_"):
            found[name.removeprefix("export_").replace("_", "-")] = kind
    return found


def is_confirmed(kind: type[Payload[Any]]) -> bool:
    """Whether a payload removes what somebody may want to keep."""
    return kind.task.rpartition(".")[2].split("_")[0] in CONFIRMED
