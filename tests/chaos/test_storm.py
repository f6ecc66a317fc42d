from pathlib import Path

import pytest

from tests.chaos.storm import Faults, Storm, verify

FAULTS = Faults(
    worker_kills=3, child_kills=2, group_terminations=1, redis_kills=1, postgres_kills=1
)


@pytest.mark.timeout(300)
def test_each_store_takes_effect_once_while_workers_and_servers_are_killed(tmp_path: Path) -> None:
    storm = Storm(tmp_path, 600, FAULTS)
    with storm.running():
        storm.rage()
        verify(storm)
    assert storm.struck["kill_worker"] == FAULTS.worker_kills
