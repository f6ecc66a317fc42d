"""What keeps ``bespoke up`` from starting is told before anything is started."""

import socket
from pathlib import Path

import pytest

from bespoke_workers.cli.machine import Machine
from bespoke_workers.errors import Misconfigured
from bespoke_workers.settings import Settings


def test_a_port_of_flower_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        told: list[str] = []
        machine = Machine(Settings(home=tmp_path, flower_port=port), told.append)

        with pytest.raises(Misconfigured) as refused:
            machine.start_processes(1, 1, flower=True, beat=False)

    assert str(refused.value) == (
        f"BESPOKE_FLOWER_PORT: {port} is taken by another program; set it to another port, or "
        "give --no-flower"
    )
    assert (told, list(tmp_path.iterdir())) == ([], [])
