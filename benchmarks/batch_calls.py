"""What an LM call of a run costs a worker in CPU, beside what it must: a bare post, and bare DSPy.

All of it in this process, four calls at once, against the stand-in in another one. The run is
LabeledFewShot's: half of its calls show sixteen demos, and so do half of the bare ones.
"""

import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import local
from typing import Any
from urllib.parse import urlsplit

import dspy
from dspy.utils.parallelizer import ParallelExecutor
from pydantic import SecretStr

from benchmarks.bench import Figure
from bespoke_workers import modules
from bespoke_workers.optimization.budget import Budget
from bespoke_workers.optimization.judging.judging import THREADS
from bespoke_workers.optimization.language_model import lm
from bespoke_workers.optimization.language_model.lm_cache import JobCache
from bespoke_workers.optimization.language_model.pace import LocalPace
from bespoke_workers.optimization.language_model.usage import Usage
from bespoke_workers.optimization.run import Assignment, improve
from bespoke_workers.optimization.stopping import Stop
from bespoke_workers.optimization.watch import Watch
from bespoke_workers.programs import registry, state
from bespoke_workers.settings import Settings
from examples.support_desk.standin_lm import standin_process
from tests.integration.optimizing import MODULE, PROGRAM, lessons

EXAMPLES, DEMOS = 40, 16
CALLS_OF_A_RUN = 24
RUNS = 40
LATENCY = timedelta(milliseconds=5)
BODY = {"role": "user", "content": "[[ ## text ## ]]\n" + "a message of the desk " * 5}


def measure() -> Iterator[Figure]:
    """Yield the figures. DSPy is measured first: a run makes it remember (``remembered``)."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"  # as a run has it: nothing is fetched
    modules.load((MODULE,))
    with standin_process(LATENCY) as url, tempfile.TemporaryDirectory() as directory:
        posts = _each_call(partial(_post, url), RUNS * CALLS_OF_A_RUN)
        bare = _each_call(partial(_ask, url), RUNS * CALLS_OF_A_RUN)
        ours = _each_call(partial(_run, url, Path(directory)), RUNS * CALLS_OF_A_RUN)
    yield Figure("CPU of a post of 33 messages", 1e3 * posts, "ms")
    yield Figure("CPU of a call by bare DSPy", 1e3 * bare, "ms")
    yield Figure("CPU of a call in a run, statements left out", 1e3 * ours, "ms")
    yield Figure("call in a run / by bare DSPy", ours / bare, "x")


def _each_call(make: Callable[[int], None], calls: int) -> float:
    """Return the seconds of this process's CPU that each of so many calls takes, once warm."""
    make(CALLS_OF_A_RUN)
    began = time.process_time()
    make(calls)
    return (time.process_time() - began) / calls


def _post(url: str, calls: int) -> None:
    """Post prompts as DSPy would, and read the answers."""
    asked = json.dumps({"model": "standin", "messages": [BODY] * (2 * DEMOS + 1)})
    own = local()

    def one(number: int) -> None:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(urlsplit(url).netloc)
        own.connection.request(
            "POST", "/v1/chat/completions", asked, {"Content-Type": "application/json"}
        )
        json.loads(own.connection.getresponse().read())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, range(calls)))


def _ask(url: str, calls: int) -> None:
    """Have DSPy's own executor ask a program without demos, and one with them."""
    program = registry.get(PROGRAM)
    plain, taught = state.fresh(program), state.fresh(program)
    for predictor in taught.predictors():
        predictor.demos = [dspy.Example(**one) for one in lessons(DEMOS)]

    def one(number: int) -> Any:
        return (plain, taught)[number % 2](text=f"message {number}")

    options = {"api_base": url, "api_key": "a key of no value", "num_retries": 0}
    model = dspy.LM("openai/standin", temperature=0.0, cache=False, **options)
    with dspy.context(lm=model, disable_history=True, trace=[]):
        executor = ParallelExecutor(num_threads=THREADS, disable_progress_bar=True)
        for _ in range(calls // (CALLS_OF_A_RUN // 2)):  # as many at a time as a run scores
            executor.execute(one, list(range(CALLS_OF_A_RUN // 2)))


def _run(url: str, directory: Path, calls: int) -> None:
    """Optimize one user after another."""
    program = registry.get(PROGRAM)
    settings = Settings(
        lm="openai/standin", lm_api_base=url, lm_api_key=SecretStr("a key of no value")
    )
    for number in range(calls // CALLS_OF_A_RUN):
        usage = Usage()
        stop = Stop(Budget(3_600.0, None, None, None), usage)
        assignment = Assignment(
            program=program,
            optimizer="LabeledFewShot",
            in_use=state.fresh(program),
            student=partial(state.fresh, program),
            examples=lessons(EXAMPLES),
            seed=f"user-{number}",
        )
        with JobCache(directory / f"{calls}-{number}") as cache:
            watch, pace = Watch(stop, usage), LocalPace(lm.rate(settings))
            improve(assignment, lm.build(settings), cache, stop, usage, watch, pace)
        assert usage.spent.lm_calls == CALLS_OF_A_RUN, "a run made more calls, or fewer"


def main() -> int:
    """Measure, and print it."""
    for figure in measure():
        print(f"{figure.name:45} {figure.value:>10.2f} {figure.unit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
