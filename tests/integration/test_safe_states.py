"""Whichever way a state comes in, nothing of it but demos and wording comes into a program."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from sqlalchemy import text

from bespoke_schemas import program_state, programs
from bespoke_schemas.program_state import StateRefused, pool_part
from bespoke_workers.errors import Refused
from bespoke_workers.programs import registry
from bespoke_workers.programs import state as states
from bespoke_workers.programs.checkpoints import Checkpoints
from bespoke_workers.programs.requests import RequestEmbeds
from bespoke_workers.settings import Settings
from examples.support_desk.standin_lm import StandinLM
from tests.hybrid_program import same_label
from tests.integration.bundles import FILE, Side, an_entry, bundle_of, put, side
from tests.integration.memory_workers import in_loop
from tests.integration.optimizing import working
from tests.traps import FORGED, KEY, TRAPS, Listener, Trap, listening
from tests.two_predictors import NAME, Triage, tame_state

Door = Callable[[Side, dict[str, Any]], Any]
"""Lets a state in, and returns the module that comes of it."""

PREDICT_S = vars(Triage().classify).keys()
FINGERPRINT = program_state.fingerprint(Triage())


@pytest.fixture
def here(database_url: str, tmp_path: Path, runner: asyncio.Runner) -> Iterator[Side]:
    (tmp_path / "storage").mkdir()
    with side(database_url, tmp_path / "storage", runner) as made:
        yield made


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")  # prices come with the wheel
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with listening(tmp_path / "written by a pickle") as made:
        yield made


@pytest.fixture
def lm() -> Iterator[StandinLM]:
    with StandinLM() as standin:
        yield standin


def saved(here: Side, state: dict[str, Any]) -> Any:
    """Save it, and use it in a worker."""
    here.save(state=state, activate=True)
    return in_a_worker(here)


def imported(here: Side, state: dict[str, Any]) -> Any:
    """Import it from a bundle."""
    entry = an_entry(program_data=state, fingerprint=FINGERPRINT, active=True)
    put(here.storage, bundle_of(entry))
    here.import_(FILE, activate=True)
    return in_a_worker(here)


def checkpointed(here: Side, state: dict[str, Any]) -> Any:
    """Save it as a checkpoint, and restore that into use."""
    checkpoints = Checkpoints(here.database, here.library)
    owner = {"program": NAME, "user_id": "ada", "name": "before"}
    here.runner.run(checkpoints.save(programs.Checkpoint(**owner, state=state)))
    here.runner.run(checkpoints.restore(programs.RestoreCheckpoint(**owner, activate=True)))
    return in_a_worker(here)


def planted(here: Side, state: dict[str, Any]) -> Any:
    """Put it into the database past everything, and use it in a worker."""
    plant(here, state)
    return in_a_worker(here)


def answered(here: Side, state: dict[str, Any]) -> Any:
    """Put it into the database, and use it in an application that asks through the queue."""
    plant(here, state)
    payload = programs.LoadActive(program=NAME, user_id="ada")
    answer = here.runner.run(here.library.load_active(payload))
    loaded = programs.Loaded.model_validate_json(answer.model_dump_json())
    module = Triage()
    program_state.assemble(module, loaded.version, base=loaded.base, own=loaded.own)
    return module


def applied(here: Side, state: dict[str, Any]) -> Any:
    """Apply it in a worker as it is."""
    module = here.library.module_for(NAME, None)
    states.apply(module, state, FINGERPRINT)
    return module


DOORS: list[Door] = [saved, imported, checkpointed, planted, answered, applied]


def in_a_worker(here: Side) -> Any:
    async def active() -> Any:
        async with here.database.transaction() as session:
            return await here.library.active(session, "ada", NAME)

    return here.library.module_for(NAME, here.runner.run(active()))


def plant(here: Side, state: dict[str, Any]) -> None:
    async def update() -> None:
        async with here.database.autocommit() as connection:
            await connection.execute(
                text("UPDATE program_version SET state = cast(:state AS jsonb)"),
                {"state": json.dumps(state)},
            )

    here.save(activate=True)
    here.runner.run(update())


def trapped(trap: Trap, listener: Listener) -> dict[str, Any]:
    """Return a state as DSPy dumps it, with one trap in it."""
    state: dict[str, Any] = tame_state()
    for predictor in state.values():
        predictor |= {"lm": None, "traces": [], "train": []}
    trap(state, listener)
    return state


def ask(module: Any, lm: StandinLM) -> Any:
    """Call a program as an application does, with its key and its language model."""
    model = dspy.LM("openai/x", api_base=lm.url, api_key=KEY, cache=False, num_retries=0)
    with dspy.context(lm=model):
        return module(text="my card was lost")


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_no_trap_survives(here: Side, listener: Listener, lm: StandinLM, door: Door) -> None:
    for count, (name, trap) in enumerate(TRAPS.items(), start=1):
        module = door(here, trapped(trap, listener))

        prediction = ask(module, lm)

        assert lm.calls == 2 * count, name
        assert prediction.reasoning == "card", name  # by the demo that the state has brought
        check_tame(module, name)
        dumped = json.dumps(module.dump_state())
        assert not any(hidden in dumped for hidden in (FORGED, listener.url)), name
    assert listener.received == []
    assert not listener.written.exists()


def check_tame(module: Any, name: str) -> None:
    """Check that the predictors are DSPy's own, with nothing set beside demos and wording."""
    for predictor in (module.classify, module.explain.predict):
        assert (predictor.lm, predictor.config, predictor.fields) == (None, {}, {}), name
        assert type(predictor) is dspy.Predict, name
        odd = {"forward", "program.pkl", "extended_signature"} & vars(predictor).keys()
        assert not odd, name


def test_a_pickle_in_a_demo_stays_a_text(here: Side, listener: Listener) -> None:
    state = trapped(TRAPS["a pickle in a demo"], listener)

    module = saved(here, state)

    assert module.classify.demos[0]["text"] == state["classify"]["demos"][0]["text"]
    assert not listener.written.exists()


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_of_a_pool_nothing_else_comes_in(
    here: Side, listener: Listener, lm: StandinLM, door: Door
) -> None:
    state = trapped(TRAPS["config.api_base"], listener)
    pool = pool_part(1, ["text"], ("os:system", 2), [{"text": "a", "label": "b"}], [[1, 0]])
    trap = {"lm": {"api_base": listener.url}, "forward": FORGED, "config": {"base_url": FORGED}}
    state["classify"]["pool"] = {**pool, **trap}
    module = program_state.pick(door(here, state), RequestEmbeds(Settings()))

    assert ask(module, lm).reasoning == "card"  # by the fixed demo: no embedder was loaded

    assert lm.calls == 2
    assert program_state.dump(module)["classify"]["pool"] == pool
    assert not {"lm", "forward", "config", "pool"} & (vars(module.classify).keys() - PREDICT_S)
    assert listener.received == []


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_pool_that_is_not_as_it_must_be_is_refused_at_every_door(here: Side, door: Door) -> None:
    state = tame_state()
    pool = pool_part(1, ["text"], ("e", 2), [{"text": "a"}], [[1, 0]])
    state["classify"]["pool"] = {**pool, "k": 10**9}

    with pytest.raises((Refused, StateRefused), match=r"pool\.k: got 1000000000"):
        door(here, state)


@pytest.mark.parametrize(
    ("name", "is_called"),
    [
        ("config.api_base", True),
        ("a forward of a predictor", False),
    ],
)
def test_the_traps_work_where_dspy_loads_them(
    listener: Listener, lm: StandinLM, name: str, is_called: bool
) -> None:
    module = Triage()
    module.load_state(trapped(TRAPS[name], listener))

    with pytest.raises(Exception):  # noqa: B017, PT011  # of whatever kind: no answer of the LM
        ask(module, lm)

    assert lm.calls == 0
    assert any(KEY.encode() in call for call in listener.received) is is_called


class Laden(dspy.Module):  # type: ignore[misc]  # dspy has no types
    """A program whose predictors are configured, one with a language model and its key."""

    def __init__(self) -> None:
        super().__init__()
        self.label = dspy.Predict("text -> label", temperature=0.5)
        self.spare = dspy.Predict("text -> label", temperature=0.5)
        self.spare.lm = dspy.LM("openai/x", api_key=KEY, headers={"x": FORGED}, user=FORGED)

    def forward(self, text: str) -> Any:
        return self.label(text=text)


@in_loop
async def test_what_an_optimization_saves_has_no_language_model_in_it(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.program("laden", inputs=["text"], metric=same_label)(Laden)
    with StandinLM() as standin:
        async with working(database_url, tmp_path, lm=standin.url, programs=()) as worker:
            await worker.teach("ada", 12, program="laden")
            for tier in ("basic", "advanced", "premium"):
                await worker.optimize("ada", program="laden", tier=tier)
            rows = await worker.execute("SELECT to_jsonb(v)::text FROM program_version v")
    assert len(rows) == 3
    for hidden in (KEY, FORGED, standin.url, "temperature", "openai/x"):
        assert hidden not in str(rows)
