"""Payloads of the programs, and ``Programs``, which serves users' programs to an application.

```python
from bespoke_client import Client, programs

served = programs.Programs(Client(), register={"support": Support})
served.for_user("support", "ada")(text="Where is my parcel?")
```
"""

from bespoke_client.aserving import AsyncPrograms
from bespoke_client.serving import Programs
from bespoke_client.shelf import ServingStats
from bespoke_schemas import programs as payloads
from bespoke_schemas.programs import *  # noqa: F403  # every payload, whichever there are

__all__ = ["AsyncPrograms", "Programs", "ServingStats"]
__all__ += payloads.__all__
