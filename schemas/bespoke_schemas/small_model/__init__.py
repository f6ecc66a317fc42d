"""A small model that anybody's processor trains in a second: it chooses among values it has seen.

Both sides of the queue use it: a worker trains it on the calls of one user's program, and workers
and applications ask it as they ask any language model. DSPy is imported where it is asked.
"""

from bespoke_schemas.small_model.chat import NotLearnable
from bespoke_schemas.small_model.engine import PREFIX, language_model
from bespoke_schemas.small_model.model import SmallModel

__all__ = ["PREFIX", "NotLearnable", "SmallModel", "language_model"]
