"""An application's module that tells of compactions and of versions that were loaded."""

import json
import os
from pathlib import Path

from bespoke_workers.observe import events


def tell(event: events.Event) -> None:
    with Path(os.environ["TOLD"]).open("a") as told:
        told.write(json.dumps(dict(event)) + "\n")


events.subscribe("dspy.memory.compaction_complete", tell)
events.subscribe("dspy.storage.load_complete", tell)
