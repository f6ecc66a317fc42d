"""The example desk: its CSV, its people, and real optimizers against the stand-in LM."""

import os
import random
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.clients.cache import Cache
from dspy.utils.callback import BaseCallback

from examples.support_desk import desk
from examples.support_desk.standin_lm import ROOT, StandinLM, standin_process
from examples.support_desk.task import Support, same_label
from tests.nodes.waiting import SECONDS

SAMPLE = Path(desk.__file__).with_name("sample.csv")


def csv_file(folder: Path, content: bytes) -> Path:
    path = folder / "messages.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty; its first line must name the columns text,category"),
        (b"text,category\n", "has a header and no rows"),
        (b"text,intent\na,b\n", "no column category; the first line must name text,category"),
        (b"a;b\n1;2\n", "no column text and category"),
        (b"text,category\n\xff,b\n", "not UTF-8 (byte 14)"),
        (b"text,category\na,b\n ,b\n", "line 3: text is blank"),
        (b"text,category\na\n", "line 2: category is blank"),
        (b"text,category\na\x00,b\n", "line 2: text holds a NUL"),
        (b'text,category\n"a,b\n', "line 2: not CSV"),
    ],
)
def test_a_bad_csv_is_refused_in_one_line(tmp_path: Path, content: bytes, text: str) -> None:
    path = csv_file(tmp_path, content)
    with pytest.raises(desk.BadCsv) as refused:
        desk.load(path)
    assert str(refused.value).startswith(str(path))
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(desk.BadCsv, match="no such file"):
        desk.load(tmp_path / "none.csv")
    with pytest.raises(desk.BadCsv, match="cannot be read"):
        desk.load(tmp_path)


def test_a_csv_with_a_mark_quotes_and_more_columns_is_read(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid,text,category\r\n1,"two\nlines, quoted",a\r\n2, plain ,b\r\n'
    assert desk.load(csv_file(tmp_path, content)) == [
        desk.Message("two\nlines, quoted", "a"),
        desk.Message("plain", "b"),
    ]


def test_the_sample_is_large_and_varied_enough() -> None:
    messages = desk.load(SAMPLE)
    assert len({message.text.casefold() for message in messages}) == len(messages) >= 420
    assert len({message.category for message in messages}) >= 12


def test_the_desks_meet_every_tier_each_in_words_of_its_own() -> None:
    desks = desk.desks(desk.load(SAMPLE))
    assert [len(one.examples) for one in desks] == list(desk.SIZES)
    assert [one.user_id for one in desks] == ["ada", "grace", "barbara", "edsger", "radia"]
    words = [{example.label for example in one.examples} for one in desks]
    assert all(len(labels) >= 2 for labels in words)
    assert sum(map(len, words)) == len(set().union(*words))
    assert desks == desk.desks(desk.load(SAMPLE))


def test_small_data_gives_fewer_desks_and_any_category_can_be_named() -> None:
    messages = [desk.Message(f"message {number}", f"c{number % 45}") for number in range(60)]
    desks = desk.desks(messages)
    assert [len(one.examples) for one in desks] == [5, 20, 60]
    assert all(len(set(one.vocabulary.values())) == len(one.vocabulary) for one in desks)
    assert [len(one.examples) for one in desk.desks(messages[:1])] == [1]


def test_people_repeat_themselves_in_other_case_and_spacing() -> None:
    said = desk.desks(desk.load(SAMPLE), [80])[0].memories
    plain = [" ".join(text.split()).casefold() for text in said]
    assert len(set(said)) == len(said) > len(set(plain)) == 80


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with standin_process() as base:
        yield base


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")  # prices come with the wheel


class Paid:
    """Counts the LM calls that reached the LM, in whichever thread; its copy is itself."""

    def __init__(self) -> None:
        self.calls = 0
        self._counting = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Paid":
        return self

    def add_usage(self, lm: str, usage: dict[str, Any]) -> None:
        if usage:  # a cache hit has none
            with self._counting:
                self.calls += 1


class Stop(BaseException):
    """Ends an optimizer from inside: no optimizer catches a BaseException."""


class Gate(BaseCallback):  # type: ignore[misc]  # dspy ships no types
    """Stops before the LM call that would exceed ``limit``."""

    def __init__(self, paid: Paid, limit: int) -> None:
        self._paid, self._limit = paid, limit

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if self._paid.calls >= self._limit:
            raise Stop


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Give DSPy an LM cache of this folder alone, which loads no pickles."""
    before, own = (
        dspy.cache,
        Cache(
            enable_disk_cache=True,
            enable_memory_cache=True,
            disk_cache_dir=str(folder),
            disk_size_limit_bytes=2**30,
            memory_max_entries=10_000,
            restrict_pickle=True,
        ),
    )
    dspy.cache = own
    try:
        yield
    finally:
        dspy.cache = before
        own.disk_cache.close()


@contextmanager
def lm_at(url: str, folder: Path, limit: int = sys.maxsize) -> Iterator[Paid]:
    """Run DSPy with the LM at ``url``, a cache of its own and a limit of paid calls."""
    paid = Paid()
    lm = dspy.LM("openai/standin", api_base=url, api_key="none")
    settings = {"lm": lm, "usage_tracker": paid, "callbacks": [Gate(paid, limit)]}
    with own_cache(folder), dspy.context(**settings):
        yield paid
    lm.close()


def split(size: int) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """Return (to learn from, held out) of a person with ``size`` examples."""
    examples = desk.desks(desk.load(SAMPLE), [20, 80, size])[-1].examples
    chosen = [dspy.Example(**example.fields()).with_inputs("text") for example in examples]
    random.Random(0).shuffle(chosen)
    return chosen[size // 5 :], chosen[: size // 5]


def score(program: Support, held_out: list[dspy.Example]) -> float:
    judge = dspy.Evaluate(devset=held_out, metric=same_label, num_threads=1)
    return float(judge(program).score)


def mipro(learn: list[dspy.Example], threads: int = 1) -> Support:
    optimizer = dspy.MIPROv2(
        metric=same_label, auto="light", max_labeled_demos=16, num_threads=threads
    )
    half = min(100, len(learn) // 2)
    compiled: Support = optimizer.compile(Support(), trainset=learn[half:], valset=learn[:half])
    return compiled


optuna_experiment = pytest.mark.filterwarnings(
    # DSPy asks Optuna for multivariate sampling, which Optuna calls an experiment
    "ignore:Argument ``multivariate`` is an experimental feature"
)


@optuna_experiment
@pytest.mark.parametrize("size", [80, 250])
def test_better_programs_score_better_for_an_honest_reason(
    url: str, tmp_path: Path, size: int
) -> None:
    learn, held_out = split(size)
    with lm_at(url, tmp_path):
        base = score(Support(), held_out)
        labeled = score(dspy.LabeledFewShot(k=16).compile(Support(), trainset=learn), held_out)
        bootstrap = dspy.BootstrapFewShot(metric=same_label)
        bootstrapped = score(bootstrap.compile(Support(), trainset=learn), held_out)
        proposed = score(mipro(learn), held_out)
    assert base < 10
    assert min(labeled, bootstrapped, proposed) > base
    if size == 250:  # sixteen examples cannot show ten labels well; an instruction can
        assert proposed > max(labeled, bootstrapped)


@optuna_experiment
def test_a_stopped_optimization_goes_on_without_paying_again(tmp_path: Path) -> None:
    learn, _ = split(80)
    calls: list[int] = []
    for folder, limit in [("whole", sys.maxsize), ("parts", 60), ("parts", sys.maxsize)]:
        ending = nullcontext() if limit == sys.maxsize else pytest.raises(Stop)
        with StandinLM() as lm, lm_at(lm.url, tmp_path / folder, limit) as paid, ending:
            mipro(learn)
        assert lm.calls == paid.calls
        calls.append(lm.calls)
    whole, first, rest = calls
    assert first == 60
    assert first + rest == whole


def test_calls_are_counted_from_every_thread(url: str, tmp_path: Path) -> None:
    _, held_out = split(80)
    with lm_at(url, tmp_path) as paid:
        dspy.Evaluate(devset=held_out, metric=same_label, num_threads=4)(Support())
    assert paid.calls == len(held_out)


def test_the_json_adapter_is_answered_in_json(url: str, tmp_path: Path) -> None:
    program = Support()
    program.label.demos = [{"text": "I lost my card", "label": "red tray"}]
    with lm_at(url, tmp_path), dspy.context(adapter=dspy.JSONAdapter()):
        assert program(text="The card is lost").label == "red tray"


def test_the_standin_ends_when_the_program_that_started_it_is_killed(tmp_path: Path) -> None:
    source = (
        "import signal\n"
        "from examples.support_desk.standin_lm import standin_process\n"
        "with standin_process() as url:\n"
        "    print(url, flush=True)\n"
        "    signal.pause()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", source], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    with parent.stdout, parent:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1\n", parent.stdout.readline())
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        standin = os.pidfd_open(int(children[0]))
        parent.send_signal(signal.SIGKILL)
    try:
        ended, _, _ = select.select(
            [standin], [], [], SECONDS
        )  # readable when the process has ended
    finally:
        os.close(standin)
    assert ended


def test_the_command_says_why_it_cannot_listen() -> None:
    with StandinLM() as lm:
        port = lm.url.removesuffix("/v1").rpartition(":")[2]
        run = subprocess.run(
            [sys.executable, "-m", "examples.support_desk.standin_lm", "--port", port],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    assert run.returncode == 2
    assert f"cannot listen on port {port}" in run.stderr
