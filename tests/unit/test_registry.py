"""Programs register under a name, and are found through BESPOKE_PROGRAMS."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bespoke_workers import modules
from bespoke_workers.errors import Misconfigured, Refused
from bespoke_workers.programs import registry

MODULE = """
import bespoke_workers

@bespoke_workers.program("{name}", inputs=["text"], metric=lambda *_: True)
class Support:
    marker = {marker}
"""


@pytest.fixture(autouse=True)
def registry_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = set(sys.modules)
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(modules, "_imported", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def always(*_: object) -> bool:
    return True


def write(directory: Path, module: str, name: str, marker: int = 1) -> None:
    (directory / f"{module}.py").write_text(MODULE.format(name=name, marker=marker))


def test_the_decorator_leaves_the_class_as_it_is() -> None:
    class Support:
        pass

    decorated = registry.program("support", inputs=["text"], metric=always)(Support)

    assert decorated is Support
    assert registry.get("support") == registry.Program("support", Support, ("text",), always)


def test_an_unknown_program_is_refused_with_the_names_and_the_setting() -> None:
    registry.program("support", inputs=["text"], metric=always)(dict)

    with pytest.raises(Refused) as refused:
        registry.get("suport")

    assert str(refused.value) == (
        "unknown program 'suport'; registered: ['support']; "
        "set BESPOKE_PROGRAMS to the module that registers it"
    )


def test_another_class_under_the_same_name_is_refused() -> None:
    registry.program("support", inputs=["text"], metric=always)(dict)

    with pytest.raises(Misconfigured, match=r"registered by builtins\.dict already"):
        registry.program("support", inputs=["text"], metric=always)(list)


@pytest.mark.parametrize(
    ("name", "inputs", "metric", "message"),
    [
        ("", ["text"], always, "name is text of 1 to 100"),
        ("n" * 101, ["text"], always, "name is text of 1 to 100"),
        ("p", "text", always, "inputs are a list of fields' names"),
        ("p", [], always, "inputs are a list of fields' names"),
        ("p", [1], always, "inputs are a list of fields' names"),
        ("p", ["text"], "accuracy", "metric is a function"),
    ],
)
def test_useless_arguments_are_named(
    name: str, inputs: list[str], metric: registry.Metric, message: str
) -> None:
    with pytest.raises(Misconfigured, match=message):
        registry.program(name, inputs=inputs, metric=metric)


def test_modules_are_found_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "desk_programs", "desk")
    monkeypatch.chdir(tmp_path)

    modules.load(["desk_programs"])

    assert registry.names() == ["desk"]


def test_a_module_is_imported_once_and_may_be_reloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "desk_programs", "desk", marker=1)
    monkeypatch.chdir(tmp_path)
    modules.load(["desk_programs"])
    first = registry.get("desk").factory

    modules.load(["desk_programs"])
    assert registry.get("desk").factory is first

    write(tmp_path, "desk_programs", "desk", marker=20)
    exec((tmp_path / "desk_programs.py").read_text(), sys.modules["desk_programs"].__dict__)
    assert getattr(registry.get("desk").factory, "marker", None) == 20


def test_a_module_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(Misconfigured) as wrong:
        modules.load(["no_such_module"])

    assert str(wrong.value).startswith(
        "BESPOKE_PROGRAMS: cannot import 'no_such_module': No module named 'no_such_module';"
    )


def test_a_module_that_raises_is_named_and_can_be_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "desk_programs", "desk")
    source = (tmp_path / "desk_programs.py").read_text()
    (tmp_path / "desk_programs.py").write_text(source + "\n1 / 0\n")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(Misconfigured, match="'desk_programs' raised ZeroDivisionError on import"):
        modules.load(["desk_programs"])

    (tmp_path / "desk_programs.py").write_text(source)
    modules.load(["desk_programs"])
    assert registry.names() == ["desk"]


def test_registering_imports_neither_dspy_nor_celery() -> None:
    code = (
        "import sys, bespoke_workers; bespoke_workers.program('x', inputs=['t'], metric=id)(dict);"
        "import bespoke_workers.programs.library, bespoke_workers.programs.bundles;"
        "print(sorted({'dspy', 'litellm', 'celery', 'faiss'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.strip() == "[]"
