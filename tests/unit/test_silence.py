"""Runs beside each other in one process, and what DSPy keeps for the whole process."""

from dspy.utils.parallelizer import ParallelExecutor, tqdm

from bespoke_workers.optimization.silence import silenced


def test_threads_that_one_run_starts_take_no_progress_bar_from_another() -> None:
    with silenced():
        bar = tqdm.tqdm(total=2)
        executor = ParallelExecutor(num_threads=2, disable_progress_bar=True)
        assert executor.execute(abs, [-1, -2]) == [1, 2]
        assert bar in tqdm.tqdm._instances
        bar.close()
        assert bar not in tqdm.tqdm._instances
