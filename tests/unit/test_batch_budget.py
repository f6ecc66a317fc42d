"""A batch's budget says when it is spent, and how."""

import pytest

from bespoke_workers.optimization.batches.batch_budget import BatchBudget


@pytest.mark.parametrize(
    ("budget", "spent", "named"),
    [
        (BatchBudget(lm_calls=10), (9, 99.0, 99.0), None),
        (BatchBudget(lm_calls=10), (10, 0.0, 0.0), "max_lm_calls"),
        (BatchBudget(usd=0.5), (99, 0.49, 99.0), None),
        (BatchBudget(usd=0.5), (0, 0.5, 0.0), "max_usd"),
        (BatchBudget(seconds=60), (99, 99.0, 59.0), None),
        (BatchBudget(seconds=60), (0, 0.0, 61.0), "max_seconds"),
        (BatchBudget(), (10**9, 1e9, 1e9), None),
    ],
)
def test_a_budget_is_spent_when_one_of_its_limits_is_reached(
    budget: BatchBudget, spent: tuple[int, float, float], named: str | None
) -> None:
    reason = budget.spent(*spent)

    assert reason is None if named is None else reason is not None and named in reason
