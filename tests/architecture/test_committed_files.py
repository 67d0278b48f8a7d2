"""What no committed file may hold: a registry's address, a path of a machine, a secret, an open merge, a novel."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.architecture.conftest import ROOT, tracked_files

#: Past about 400 lines a module becomes a package; a little room for the one that is just being split.
LONGEST_MODULE = 460

# Written in pieces, so that this file does not hold what it looks for.
_HOSTS = ["pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "download.pytorch" + ".org"]
_PATHS = ["/ro" + "ot/", "/wo" + "rk/", "/opt/" + "pypi"]
_SECRETS = [
    r"-----BEGIN [A-Z ]*PRIVATE " + r"KEY-----",
    r"\bAKIA" + r"[0-9A-Z]{16}\b",
    r"\bty_" + r"[A-Za-z0-9_-]{43}\b",
    r"\bhf_" + r"[A-Za-z0-9]{30,}\b",
]
#: What a merge leaves where nobody decided.
_LEFT_OPEN = [r"(?m:^<{7} )", r"(?m:^>{7} )"]
_PATTERNS = [*_LEFT_OPEN, *map(re.escape, _HOSTS), *(rf"(?<![\w.$}}]){re.escape(path)}" for path in _PATHS), *_SECRETS]
FORBIDDEN = re.compile("|".join(_PATTERNS))


def _text_files() -> list[Path]:
    return [path for path in tracked_files() if b"\0" not in path.read_bytes()[:4096]]


def test_no_registry_machine_path_or_secret() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in _text_files()
        if (match := FORBIDDEN.search(path.read_text(errors="replace")))
    ]
    assert found == []


@pytest.mark.parametrize("sample", [f"url = https://{_HOSTS[0]}/simple", f"cd {_PATHS[1]}main", "ty_" + "a" * 43])
def test_the_search_would_find_one(sample: str) -> None:
    assert FORBIDDEN.search(sample)


def test_the_locks_pin_versions_only() -> None:
    locks = sorted((ROOT / "requirements").glob("*.lock"))
    assert len(locks) >= 5
    for lock in locks:
        lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
        assert lines
        assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][A-Za-z0-9.]*", line)] == []
        assert [line for line in lines if re.match(r"(torch|nvidia-.*|triton)==", line)] == []


def test_one_version_in_every_lock() -> None:
    locks = {path.stem: dict(_pins(path)) for path in (ROOT / "requirements").glob("*.lock")}
    for name, pins in locks.items():
        differing = {package for package, version in pins.items() if locks["dev"].get(package) != version}
        assert differing == set(), f"{name}.lock differs from dev.lock"


def test_each_declared_package_is_locked() -> None:
    """Who adds a package to pyproject.toml runs `make lock`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: [Requirement(line) for line in lines] for name, lines in project["optional-dependencies"].items()}

    def wanted(extra: str) -> set[str]:
        found = {requirement.name for requirement in map(Requirement, project["dependencies"])}
        for requirement in extras[extra]:
            inner = [wanted(name) for name in requirement.extras] if requirement.name == "tuneyard" else []
            found |= set().union(*inner) if inner else {requirement.name}
        return {name.lower().replace("_", "-").replace(".", "-") for name in found}

    for lock, extra in (("web", "web"), ("serve", "serve"), ("worker", "worker"), ("run", "embedded"), ("dev", "dev")):
        pins = dict(_pins(ROOT / "requirements" / f"{lock}.lock"))
        assert wanted(extra) - set(pins) - {"torch"} == set(), f"not in {lock}.lock"
        for requirement in extras[extra]:
            version = pins.get(requirement.name.lower())
            assert version is None or version in requirement.specifier, requirement


@pytest.mark.parametrize("lock", ["web", "serve", "worker", "run", "dev"])
def test_a_lock_holds_what_any_python_3_11_needs(lock: str) -> None:
    """Who makes the lock may have a later patch release than who installs it without looking for more."""
    pins = dict(_pins(ROOT / "requirements" / f"{lock}.lock"))
    oldest = {"python_full_version": "3.11.0", "extra": ""}
    missing, read = set(), 0
    for package in pins:
        try:
            needed = map(Requirement, requires(package) or [])
        except PackageNotFoundError:
            continue
        read += 1
        for requirement in needed:
            name = re.sub(r"[-_.]+", "-", requirement.name).lower()
            if name not in {*pins, "torch"} and (requirement.marker is None or requirement.marker.evaluate(oldest)):
                missing.add(f"{package} needs {requirement}")
    assert read > len(pins) / 2
    assert missing == set()


def test_the_light_locks_bring_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "mlflow", "mlflow-skinny", "ray", "datasets", "pyarrow", "scikit-learn"}
    for name in ("web", "serve"):
        assert heavy & {package for package, _ in _pins(ROOT / "requirements" / f"{name}.lock")} == set()


def test_the_browser_lock_names_no_address() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == []
    wanted = json.loads((ROOT / "package.json").read_text())["dependencies"]
    assert lock["packages"][""]["dependencies"] == wanted


def test_modules_stay_readable() -> None:
    code = [path for path in tracked_files() if path.suffix == ".py" and "migrations" not in path.parts]
    long = {
        str(path.relative_to(ROOT)): lines
        for path in code
        if (lines := len(path.read_text().splitlines())) > LONGEST_MODULE
    }
    assert long == {}


def _pins(lock: Path) -> list[tuple[str, str]]:
    pins = []
    for line in lock.read_text().splitlines():
        if not line.startswith("#"):
            package, _, version = line.partition("==")
            pins.append((package, version))
    return pins
