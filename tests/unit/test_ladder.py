"""What auto tries, and which options it takes."""

from typing import Any, get_args

import pytest

from bespoke_schemas.optimization import FINETUNES, Optimizer
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.optimization.choosing import choices
from bespoke_workers.optimization.choosing.ladder import ORDER, Rung, ladder, roughly
from bespoke_workers.optimization.choosing.tiers import Band, Table


def names(examples: int, own: Rung | None = None, **options: Any) -> list[str]:
    """Return the optimizers to try, without those picking by likeness, which all try second."""
    rungs = ladder(options, examples, own).rungs
    return [rung.optimizer for rung in rungs if rung.optimizer != "KNNFewShot"]


def test_more_examples_warrant_dearer_optimizers() -> None:
    assert names(10) == names(40) == ["LabeledFewShot", "BootstrapFewShot"]
    assert names(80) == ["LabeledFewShot", "BootstrapFewShotWithRandomSearch"]
    assert names(250) == [*names(80), "MIPROv2"]


def test_what_the_tier_has_is_tried_too_with_its_options_and_in_its_place() -> None:
    own = Rung("BootstrapFewShot", {"max_rounds": 2})
    rungs = ladder({}, 80, own).rungs
    assert own in rungs
    order = [ORDER.index(rung.optimizer) for rung in rungs]
    assert order == sorted(set(order))
    assert (
        Rung("MIPROv2", {"auto": "medium"})
        in ladder({}, 250, Rung("MIPROv2", {"auto": "medium"})).rungs
    )


def test_a_ladder_of_one_s_own_is_taken_as_it_is() -> None:
    gepa = {"optimizer": "GEPA", "options": {"max_metric_calls": 60}}
    given = ladder({"ladder": [gepa, "LabeledFewShot"], "max_lm_calls": 90}, 10, Rung("MIPROv2"))
    assert given.rungs == (Rung("GEPA", {"max_metric_calls": 60}), Rung("LabeledFewShot"))
    assert (given.max_lm_calls, given.max_usd) == (90, None)
    limits = [given.within(lm_calls).max_lm_calls for lm_calls in (None, 50, 500)]
    assert limits == [90, 50, 90]
    assert ladder({}, 10, None).within(None).max_lm_calls is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"k": 4}, "auto has no option 'k'; it has ladder, max_lm_calls, max_usd"),
        ({"ladder": []}, "option 'ladder' of auto: "),
        ({"ladder": ["auto"]}, "option 'ladder' of auto: "),
        ({"ladder": ["LabeledFewShot"] * 9}, "option 'ladder' of auto: "),
        ({"ladder": ["BootstrapFinetune"]}, "auto does not train models"),
        ({"max_lm_calls": 0}, "option 'max_lm_calls' of auto: "),
        ({"max_lm_calls": "many"}, "valid integer"),
        ({"max_usd": 0}, "option 'max_usd' of auto: "),
        (
            {"ladder": [{"optimizer": "LabeledFewShot", "options": {"depth": 1}}]},
            "LabeledFewShot has no option 'depth'",
        ),
    ],
)
def test_what_it_does_not_take_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(Refused) as refused:
        choices.check("auto", given)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_tier_may_choose_by_trying() -> None:
    choices.check_table(Table([Band("any", 4, "auto", {"max_lm_calls": 500})]))
    with pytest.raises(Misconfigured, match="tier 'any': auto has no option 'calls'"):
        choices.check_table(Table([Band("any", 4, "auto", {"calls": 500})]))


def test_every_optimizer_has_its_place_and_a_price_that_options_raise() -> None:
    for optimizer in set(get_args(Optimizer)) - {FINETUNES}:
        assert optimizer in ORDER
        assert roughly(Rung(optimizer), 100) >= 0
    assert roughly(Rung("MIPROv2", {"auto": "heavy"}), 100) > roughly(Rung("MIPROv2"), 100)
    assert roughly(Rung("GEPA", {"max_metric_calls": 50}), 100) == 50
    answered = Rung("KNNFewShot", {"max_bootstrapped_demos": 10})
    assert [roughly(answered, train) for train in (8, 100)] == [8, 10]
    few = Rung("BootstrapFewShotWithRandomSearch", {"num_candidate_programs": 3})
    assert roughly(few, 60) == 6 * 30
