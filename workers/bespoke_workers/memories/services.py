"""What works on memories with one embedder."""

from collections.abc import Callable
from datetime import datetime

from bespoke_workers.database.engine import Database
from bespoke_workers.memories.defaults import Defaults
from bespoke_workers.memories.deferral import Deferral
from bespoke_workers.memories.embedding import Embedder
from bespoke_workers.memories.importing import Importing
from bespoke_workers.memories.inspecting import Inspecting
from bespoke_workers.memories.loading import Loader
from bespoke_workers.memories.reading import Reading
from bespoke_workers.memories.rehearsing import Rehearsing
from bespoke_workers.memories.removal import Removal
from bespoke_workers.memories.restoring import Restoring
from bespoke_workers.memories.safeguard import Safeguard
from bespoke_workers.memories.storing import Storing
from bespoke_workers.memories.storing_many import StoringMany
from bespoke_workers.memories.sweeping import Sweeping
from bespoke_workers.memories.updating import Updating
from bespoke_workers.storage.places import Storage


class Services:
    """The services that compare vectors or keep an index, all of one embedder.

    Each raises OtherEmbedder where a user's space is of another one, before it writes anything.
    """

    def __init__(
        self,
        database: Database,
        loader: Loader,
        embedder: Embedder,
        default: Defaults,
        storage: Storage,
        clock: Callable[[], datetime],
        deferral: Deferral,
        safeguard: Safeguard,
    ) -> None:
        self.storing = Storing(database, loader, embedder, clock, deferral, safeguard)
        self.storing_many = StoringMany(database, loader, embedder, clock, safeguard)
        self.importing = Importing(database, loader, embedder, default, storage, clock, safeguard)
        self.reading = Reading(database, loader, embedder, clock)
        self.inspecting = Inspecting(database, loader, embedder)
        self.removal = Removal(database, loader, default, clock)
        self.updating = Updating(database, loader, embedder, default, clock)
        self.sweeping = Sweeping(database, loader, embedder, default, clock, safeguard)
        self.rehearsing = Rehearsing(database, loader, embedder, default, clock)
        self.restoring = Restoring(database, loader, embedder, default, clock)
