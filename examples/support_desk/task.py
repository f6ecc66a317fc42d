"""What the desk's program does, free of any registry: its signature, module and metric."""

from typing import Any

import dspy


class LabelMessage(dspy.Signature):  # type: ignore[misc]  # dspy ships no types
    """Label a customer's message with the words that this person of the desk uses."""

    text: str = dspy.InputField(desc="the customer's message")
    label: str = dspy.OutputField(desc="the label, in the person's own words")


class Support(dspy.Module):  # type: ignore[misc]  # dspy ships no types
    """Answer a message's ``text`` with a prediction that holds its ``label``."""

    def __init__(self) -> None:
        super().__init__()
        self.label = dspy.Predict(LabelMessage)

    def forward(self, text: str) -> dspy.Prediction:
        """Label one message."""
        return self.label(text=text)


def same_label(example: Any, prediction: Any, trace: object = None) -> bool:
    """Tell whether the predicted label is the wanted one, whatever its case and outer spaces."""
    return _plain(example.label) == _plain(prediction.label)


def _plain(label: object) -> str:
    return " ".join(str(label).split()).casefold()
