"""What an application imports to enqueue work for Bespoke and to read the results.

```python
from bespoke_client import Client, memories

client = Client()
job = client.enqueue(memories.Store(user_id="ada", content="Prefers dark mode"))
job.result(timeout=10)  # -> memories.Stored
```
"""

from bespoke_client import programs
from bespoke_client.aio import AsyncClient
from bespoke_client.client import Client
from bespoke_client.errors import (
    BadResult,
    BespokeClientError,
    BrokerRefused,
    BrokerUnavailable,
    JobCancelled,
    JobError,
    JobFailed,
    NotConfigured,
    NotServed,
    PayloadTooLarge,
    ResultIgnored,
    ResultTimeout,
)
from bespoke_client.job import AsyncJob, Job
from bespoke_client.toolset import MemoryToolset
from bespoke_schemas import examples, exports, jobs, memories, optimization

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "BadResult",
    "BespokeClientError",
    "BrokerRefused",
    "BrokerUnavailable",
    "Client",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "MemoryToolset",
    "NotConfigured",
    "NotServed",
    "PayloadTooLarge",
    "ResultIgnored",
    "ResultTimeout",
    "__version__",
    "examples",
    "exports",
    "jobs",
    "memories",
    "optimization",
    "programs",
]
