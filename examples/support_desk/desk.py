"""The desk's people: who labels which messages, in what words, and what each of them said."""

import csv
import io
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

COLUMNS = ("text", "category")
SIZES = (5, 20, 80, 250, 400)  # examples of each person: every tier is met
PEOPLE = ("ada", "grace", "barbara", "edsger", "radia", "alan", "frances", "donald")
MESSAGES_PER_CATEGORY = 25  # about what one person labels of a kind before taking on another
FEWEST_CATEGORIES, MOST_CATEGORIES = 2, 12
REPEAT_EVERY = 6  # people repeat themselves, in other case and spacing

_COLOURS = "amber black blue copper green grey indigo ivory lilac olive pink red teal white"
_NAMES = "Ines Tomas Wanda Pablo Greta Amir Lucia Henrik Noor Felix Mira Oskar Zoe Ravi"
_BIRDS = "heron magpie wren robin osprey linnet plover curlew swift merlin dunlin siskin rook stork"
_RIVERS = "Elbe Tagus Volga Rhone Liffey Drava Ebro Clyde Meuse Oder Thames Neva Po Tiber"
_SHELVES = "A1 A2 A3 B1 B2 B3 C1 C2 C3 D1 D2 D3 E1 E2"
STYLES = (
    ("{} tray", _COLOURS),
    ("for {}", _NAMES),
    ("{}", _BIRDS),
    ("the {} queue", _RIVERS),
    ("shelf {}", _SHELVES),
)
STATEMENTS = ("{text}", "{label}: {text}", "A customer asked me this: {text}")


class BadCsv(ValueError):
    """A file that holds no usable messages; its text is one line that says why."""


@dataclass(frozen=True)
class Message:
    """A customer's message and the category that the file gives it."""

    text: str
    category: str


@dataclass(frozen=True)
class Labelled:
    """A message with the label that one person gave it."""

    text: str
    label: str

    def fields(self) -> dict[str, str]:
        """Return the training example as ``examples.Add`` takes it."""
        return {"text": self.text, "label": self.label}


@dataclass(frozen=True)
class Desk:
    """One person: label by category, the examples they labelled, the things they said."""

    user_id: str
    vocabulary: Mapping[str, str]
    examples: tuple[Labelled, ...]
    memories: tuple[str, ...]


def load(path: str | Path) -> list[Message]:
    """Read the messages of a UTF-8 CSV file with the columns text and category.

    Raises BadCsv, which names the file and what is wrong with it.
    """
    try:
        content = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BadCsv(f"{path}: no such file; give the path of a CSV file") from None
    except OSError as error:
        raise BadCsv(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadCsv(
            f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8, or convert it with iconv"
        ) from None
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    try:
        _check_columns(path, reader.fieldnames)
        messages = [_message(path, reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise BadCsv(f"{path}, line {reader.reader.line_num}: not CSV: {error}") from None
    if not messages:
        raise BadCsv(f"{path}: has a header and no rows; give at least one message")
    return messages


def _check_columns(path: str | Path, found: Sequence[str] | None) -> None:
    if not found:
        raise BadCsv(f"{path}: is empty; its first line must name the columns text,category")
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        raise BadCsv(
            f"{path}: no column {' and '.join(missing)}; the first line must name text,category, "
            f"got {len(found)} columns"
        )


def _message(path: str | Path, line: int, row: Mapping[str, str | None]) -> Message:
    values = {column: (row[column] or "").strip() for column in COLUMNS}
    for column, value in values.items():
        if not value:
            raise BadCsv(f"{path}, line {line}: {column} is blank; fill it or delete the line")
        if "\x00" in value:
            raise BadCsv(f"{path}, line {line}: {column} holds a NUL character; remove it")
    return Message(**values)


def desks(messages: Sequence[Message], sizes: Iterable[int] = SIZES) -> list[Desk]:
    """Spread messages over people, the first with ``sizes[0]`` examples and so on.

    A size beyond the messages there are becomes their number, once. People may share
    messages. The same messages and sizes always give the same people.
    """
    possible = dict.fromkeys(min(size, len(messages)) for size in sizes)
    return [_desk(number, messages, size) for number, size in enumerate(possible)]


def _desk(number: int, messages: Sequence[Message], size: int) -> Desk:
    user_id = PEOPLE[number] if number < len(PEOPLE) else f"person-{number + 1}"
    chance = random.Random(user_id)
    chosen = _choose(messages, size, chance)
    vocabulary = _vocabulary({message.category for message in chosen}, number, chance)
    examples = tuple(Labelled(m.text, vocabulary[m.category]) for m in chosen)
    return Desk(user_id, vocabulary, examples, tuple(_said(examples)))


def _choose(messages: Sequence[Message], size: int, chance: random.Random) -> list[Message]:
    """Pick ``size`` messages, evenly from as few categories as are usual and enough."""
    by_category: defaultdict[str, list[Message]] = defaultdict(list)
    for message in messages:
        by_category[message.category].append(message)
    wanted = min(max(size // MESSAGES_PER_CATEGORY, FEWEST_CATEGORIES), MOST_CATEGORIES)
    piles: list[list[Message]] = []
    for category in chance.sample(sorted(by_category), len(by_category)):
        if len(piles) >= wanted and sum(map(len, piles)) >= size:
            break
        pile = by_category[category]
        piles.append(chance.sample(pile, len(pile)))
    dealt = [message for row in zip_longest(*piles) for message in row if message is not None]
    return chance.sample(dealt[:size], size)


def _vocabulary(categories: set[str], number: int, chance: random.Random) -> dict[str, str]:
    style, listed = STYLES[number % len(STYLES)]
    names = listed.split()
    names = chance.sample(names, len(names))
    labels = [
        style.format(names[index % len(names)])
        + (f" {index // len(names) + 1}" * (index >= len(names)))
        for index in range(len(categories))
    ]
    return dict(zip(sorted(categories), labels, strict=True))


def _said(examples: Sequence[Labelled]) -> Iterable[str]:
    for index, example in enumerate(examples):
        statement = STATEMENTS[index % len(STATEMENTS)]
        said = statement.format(text=example.text, label=example.label)
        yield said
        if index % REPEAT_EVERY == 0:
            yield said.upper() if index % (2 * REPEAT_EVERY) else "  " + said.replace(" ", "  ")
