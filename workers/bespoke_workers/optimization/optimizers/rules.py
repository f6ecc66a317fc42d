"""InferRules, with each candidate's rules in a signature of its own."""

from typing import Any

import dspy


class OwnRules(dspy.InferRules):  # type: ignore[misc]  # dspy ships no types
    """InferRules that changes no signature which anything else has.

    DSPy's own writes the rules into the signature's class. All candidates share that, so the
    last one's rules win, whichever scored best; and so does every other program of the class
    in this process: the next user's would follow this user's rules.
    """

    def compile(self, student: Any, **given: Any) -> Any:
        """Return the best candidate, which tells in ``rules_tried`` how each one scored."""
        self._tried: list[float] = []
        best = super().compile(student, **given)
        best.rules_tried = self._tried
        return best

    def update_program_instructions(self, predictor: Any, natural_language_rules: str) -> None:
        """Give one candidate's predictor its rules."""
        present = predictor.signature
        predictor.signature = present.with_instructions(
            f"{present.instructions}\n\nPlease adhere to the following rules when making your "
            f"prediction:\n{natural_language_rules}"
        )

    def evaluate_program(self, program: Any, dataset: Any) -> float:
        """Score a candidate."""
        score = float(super().evaluate_program(program, dataset))
        self._tried.append(score)
        return score
