"""Three wheels that fit each other, hold what they need, and ask for no more than that."""

import os
import subprocess
import sys
import tomllib
import zipfile
from email.parser import BytesParser
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import pytest
import redis
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bespoke_client
import bespoke_schemas
import bespoke_workers
from bespoke_schemas import memories
from bespoke_workers.database import migrate
from tests.nodes.waiting import SECONDS

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = {"schemas": bespoke_schemas, "api_client": bespoke_client, "workers": bespoke_workers}
PACKAGES = {"bespoke-schemas", "bespoke-client", "bespoke-workers"}
# What an application need not have in order to enqueue.
HEAVY = {"faiss-cpu", "dspy", "litellm", "sqlalchemy", "asyncpg", "sqlmodel", "numpy", "flower"}
HEAVY_MODULES = ("faiss", "dspy", "litellm", "sqlalchemy", "asyncpg", "sqlmodel", "numpy", "flower")

ENQUEUE = """
import sys
target, site, blocked = sys.argv[1], sys.argv[2], set(sys.argv[3].split(","))

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} must not be needed")

sys.meta_path.insert(0, Blocked())
sys.path[:0] = [target]
sys.path.append(site)

import bespoke_client, bespoke_schemas
from bespoke_client import Client, memories
from bespoke_client.testing import RecordingClient

for package in (bespoke_client, bespoke_schemas):
    assert package.__file__.startswith(target), package.__file__
with Client(sys.argv[4]) as client:
    print(client.enqueue(memories.Store(user_id="ada", content="likes tea")).id)
"""
MIGRATE = """
import sys
sys.path[:0] = [sys.argv[1]]
sys.path.append(sys.argv[2])
import bespoke_workers
assert bespoke_workers.__file__.startswith(sys.argv[1]), bespoke_workers.__file__
sys.argv[1:] = ["migrate"]
from bespoke_workers.cli import main
main()
"""
IMPORT_TASKS = """
import importlib, sys
import bespoke_workers.app
for name in bespoke_workers.configuration.TASK_MODULES:
    importlib.import_module(f"bespoke_workers.tasks.{name}")
print(",".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def project(member: str) -> dict[str, Any]:
    text = (ROOT / member / "pyproject.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text)["project"])


def of_ours(requirements: list[str]) -> dict[str, str]:
    """Return which of our distributions are asked for, and in which version."""
    parsed = [Requirement(one) for one in requirements]
    return {one.name: str(one.specifier) for one in parsed if one.name.startswith("bespoke")}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three wheels by member, built as a release would."""
    built = {}
    for member in MEMBERS:
        directory = tmp_path_factory.mktemp(member)
        uv("build", "--wheel", "--no-build-isolation", "--out-dir", str(directory), member)
        (built[member],) = directory.glob("*.whl")
    return built


def uv(*arguments: str) -> None:
    command = [sys.executable, "-m", "uv", arguments[0], "--offline", "--no-cache"]
    done = subprocess.run(
        [*command, "--python", sys.executable, *arguments[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def install(target: Path, *built: Path) -> Path:
    """Install wheels by path, and nothing that they ask for."""
    paths = [str(wheel) for wheel in built]
    command = [sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-cache", "--no-deps"]
    done = subprocess.run(
        [*command, "--python", sys.executable, "--target", str(target), *paths],
        cwd=target.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return target


def outside(script: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run Python away from the workspace: without site, no .pth file leads back to it."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def site_packages() -> str:
    return str(Path(redis.__file__).parents[1])


def test_the_three_versions_are_equal() -> None:
    versions = {member: project(member)["version"] for member in MEMBERS}
    (one,) = set(versions.values())

    assert {package.__version__ for package in MEMBERS.values()} == {one}
    assert {version(name) for name in PACKAGES} == {one}


@pytest.mark.parametrize("member", ["api_client", "workers"])
def test_a_member_pins_the_schemas_of_its_own_version(member: str) -> None:
    declared = project(member)

    assert of_ours(declared["dependencies"]) == {"bespoke-schemas": f"=={declared['version']}"}


def test_the_schemas_need_pydantic_and_nothing_else() -> None:
    assert [Requirement(one).name for one in project("schemas")["dependencies"]] == ["pydantic"]


def test_the_root_takes_its_members_from_the_workspace() -> None:
    root = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    uv_settings = root["tool"]["uv"]

    assert set(root["project"]["dependencies"]) == PACKAGES
    assert uv_settings["workspace"]["members"] == list(MEMBERS)
    assert uv_settings["sources"] == {name: {"workspace": True} for name in PACKAGES}
    assert uv_settings["package"] is False


@pytest.mark.parametrize("member", MEMBERS)
def test_no_member_brings_tool_settings_that_would_replace_the_root_s(member: str) -> None:
    text = (ROOT / member / "pyproject.toml").read_text(encoding="utf-8")

    assert set(tomllib.loads(text)["tool"]) == {"hatch"}


@pytest.mark.parametrize("member", MEMBERS)
def test_a_wheel_holds_its_package_whole_and_nothing_else(
    member: str, wheels: dict[str, Path]
) -> None:
    package = MEMBERS[member].__name__
    source = ROOT / member / package
    sources = {
        f"{package}/{path.relative_to(source).as_posix()}"
        for path in source.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }

    held = zipfile.ZipFile(wheels[member]).namelist()
    info = f"{package}-{MEMBERS[member].__version__}.dist-info/"

    assert {name for name in held if not name.startswith(info)} == sources
    assert f"{package}/py.typed" in held
    assert any(name.startswith(info) and name.endswith("/LICENSE") for name in held)


def test_the_workers_wheel_brings_its_migrations_and_its_command(wheels: dict[str, Path]) -> None:
    wheel = zipfile.ZipFile(wheels["workers"])
    held = wheel.namelist()
    migrations = "bespoke_workers/database/migrations"
    (entry_points,) = [name for name in held if name.endswith("entry_points.txt")]

    assert f"{migrations}/env.py" in held
    assert f"{migrations}/script.py.mako" in held
    assert any(name.startswith(f"{migrations}/versions/0001_") for name in held)
    assert "bespoke = bespoke_workers.cli:main" in wheel.read(entry_points).decode()


def test_the_client_wheel_needs_nothing_heavy(wheels: dict[str, Path]) -> None:
    needed = closure(requirements(wheels["api_client"]))

    assert needed & HEAVY == set()
    assert "bespoke-workers" not in needed
    assert {"bespoke-schemas", "celery", "redis", "pydantic", "kombu"} <= needed
    assert {"faiss-cpu", "dspy", "sqlalchemy", "asyncpg", "sqlmodel"} <= closure(
        requirements(wheels["workers"])
    )


def test_the_installed_client_enqueues_without_anything_heavy(
    wheels: dict[str, Path], tmp_path: Path, broker_url: str
) -> None:
    target = install(tmp_path / "app", wheels["schemas"], wheels["api_client"])
    blocked = ",".join([*HEAVY_MODULES, "bespoke_workers"])

    job_id = outside(ENQUEUE, str(target), site_packages(), blocked, broker_url, cwd=tmp_path)

    with redis.Redis.from_url(broker_url) as connection:
        assert connection.keys("memories.*")
    assert memories.Store(id=job_id, user_id="ada", content="c").id.version == 7


def test_the_installed_workers_migrate_a_database(
    wheels: dict[str, Path], tmp_path: Path, empty_database_url: str
) -> None:
    target = install(tmp_path / "app", wheels["schemas"], wheels["workers"])
    env = {"BESPOKE_DATABASE_URL": empty_database_url}

    said = outside(MIGRATE, str(target), site_packages(), cwd=tmp_path, env=env)

    assert said == f"migrated from None to {migrate.head()}"


def test_importing_every_task_imports_neither_dspy_nor_litellm_nor_faiss() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_TASKS],
        env={**os.environ, "BESPOKE_BROKER_URL": "redis://x"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.strip().split(","))
    assert "bespoke_workers" in imported
    assert imported & {"dspy", "litellm", "faiss", "optuna", "openai", "flower"} == set()


def requirements(wheel: Path) -> list[str]:
    """Return what a wheel's metadata asks for."""
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    return BytesParser().parsebytes(archive.read(name)).get_all("Requires-Dist") or []


def closure(asked: list[str]) -> set[str]:
    """Return the names of all distributions that an installation of these brings."""
    found: set[tuple[str, str]] = set()
    waiting = [(Requirement(one), "") for one in asked]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in ("", *requirement.extras):
            name = canonicalize_name(requirement.name)
            if (name, wanted) in found:
                continue
            found.add((name, wanted))
            waiting += [(Requirement(one), wanted) for one in _asked_by(name)]
    return {name for name, _ in found}


def _asked_by(name: str) -> list[str]:
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:  # for another platform
        return []
