"""The desk's program as workers find it: name this module in BESPOKE_PROGRAMS."""

import bespoke_workers
from examples.support_desk import task


@bespoke_workers.program("support", inputs=["text"], metric=task.same_label)
class Support(task.Support):
    """``text -> label``, to be made each user's own from that user's examples."""
