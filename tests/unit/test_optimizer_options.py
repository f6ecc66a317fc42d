"""What may be set of an optimizer, and what its run keeps to itself."""

from typing import Any

import pytest

from bespoke_schemas.optimization import Optimizer, OptimizeUser
from bespoke_workers.errors import Refused
from bespoke_workers.optimization.choosing import options


@pytest.mark.parametrize(
    ("optimizer", "given"),
    [
        ("LabeledFewShot", {"k": 4}),
        ("LabeledFewShot", {"sample": False}),
        ("KNNFewShot", {"k": 5, "max_bootstrapped_demos": 20, "metric_threshold": 0.5}),
        ("InferRules", {"num_candidates": 2, "num_rules": 3, "max_labeled_demos": 0}),
        ("BootstrapFewShot", {"max_rounds": 2, "metric_threshold": 0.5}),
        ("BootstrapFewShotWithRandomSearch", {"num_candidate_programs": 3, "stop_at_score": 99.5}),
        ("MIPROv2", {"auto": "heavy"}),
        ("MIPROv2", {"num_candidates": 3, "num_trials": 5, "minibatch": False}),
        ("GEPA", {"max_metric_calls": 60, "use_merge": False}),
        ("GEPA", {"auto": "medium"}),
        ("GEPA", {}),
    ],
)
def test_an_optimizer_takes_the_plain_parameters_of_its_signature(
    optimizer: Optimizer, given: dict[str, Any]
) -> None:
    options.check(optimizer, given)


@pytest.mark.parametrize(
    ("optimizer", "given", "told"),
    [
        ("LabeledFewShot", {"k": "4"}, "option 'k' of LabeledFewShot: Input should be a valid int"),
        ("LabeledFewShot", {"k": True}, "valid integer"),
        ("LabeledFewShot", {"k": -1}, "got -1; give 0 to 10000"),
        ("LabeledFewShot", {"k": 10**9}, "give 0 to 10000"),
        ("LabeledFewShot", {"k": [4]}, "valid integer"),
        ("LabeledFewShot", {"depth": 4}, "has no option 'depth'; it has k, sample"),
        ("KNNFewShot", {"k": 0}, "got 0; give 1 to 100"),
        ("KNNFewShot", {"vectorizer": "os:system"}, "has no option 'vectorizer'"),
        ("KNNFewShot", {"trainset": []}, "has no option 'trainset'"),
        ("InferRules", {"num_candidates": 0}, "give 1 at least"),
        ("MIPROv2", {"auto": "extreme"}, "'light', 'medium' or 'heavy'"),
        ("MIPROv2", {"auto": "light", "num_trials": 3}, "takes auto or num_trials, not both"),
        ("MIPROv2", {"num_trials": 3}, "needs both num_candidates and num_trials"),
        ("MIPROv2", {"auto": None}, "needs both"),
        ("MIPROv2", {"log_dir": "/tmp"}, "has no option 'log_dir'"),
        ("GEPA", {"log_dir": "/tmp"}, "has no option 'log_dir'"),
        ("GEPA", {"gepa_kwargs": {}}, "has no option 'gepa_kwargs'"),
        ("GEPA", {"use_wandb": True}, "has no option 'use_wandb'"),
        ("GEPA", {"auto": "light", "max_full_evals": 2}, "takes one of auto, max_full_evals"),
        ("BootstrapFewShot", {"teacher_settings": {}}, "has no option 'teacher_settings'"),
    ],
)
def test_what_it_does_not_take_is_refused(
    optimizer: Optimizer, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(Refused) as refused:
        options.check(optimizer, given)

    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("optimizer", options.KINDS)
def test_no_option_takes_anything_but_plain_values(optimizer: Optimizer) -> None:
    for name in options._known(optimizer):
        with pytest.raises(Refused):
            options.check(optimizer, {name: {"a": 1}})
        with pytest.raises(Refused):
            options.check(optimizer, {name: [1]})


def test_a_payload_gives_a_tier_or_an_optimizer_and_options_only_with_one() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        OptimizeUser(user_id="ada", program="support", tier="basic", optimizer="GEPA")
    with pytest.raises(ValueError, match="options and no optimizer"):
        OptimizeUser(user_id="ada", program="support", options={"k": 4})
