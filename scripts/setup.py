#!/usr/bin/env python3
"""Bring a checkout to the state that `make run` or `make test` needs: `python3.11 scripts/setup.py run|dev`.

Standard library only, since it makes the environment that everything else lives in. Each step leaves a stamp that
names what it was made from, so that the second call does nothing, and a call after `git pull` does what changed.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("TUNEYARD_VENV", ROOT / ".venv")).resolve()
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "tuneyard-setup"
KINDS = ("run", "dev")


def say(text: str) -> None:
    print(f"setup    | {text}", flush=True)


def fingerprint(paths: Iterable[Path], *words: str) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def once(name: str, made_from: str, work: Callable[[], None], why: str) -> None:
    """Do `work` unless the stamp says that it was done from the same input; the stamp is written last."""
    stamp = STAMPS / name
    if stamp.is_file() and stamp.read_text() == made_from:
        return
    say(why)
    stamp.unlink(missing_ok=True)
    work()
    STAMPS.mkdir(exist_ok=True)
    stamp.write_text(made_from)


def pip(*arguments: str) -> None:
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def make_environment() -> None:
    if PYTHON.is_file():
        return
    say(f"creating the environment {VENV.name}")
    try:
        venv.create(VENV, with_pip=True, symlinks=True)
    except subprocess.CalledProcessError:
        sys.exit(
            "Python cannot create a virtual environment with pip in it. "
            "On Debian and Ubuntu: install the package python3.11-venv, then repeat."
        )


def install_packages(kind: str) -> None:
    torch = ROOT / "requirements" / "torch.txt"
    torch_made_from = fingerprint([torch])
    once(
        "torch",
        torch_made_from,
        lambda: pip("--requirement", str(torch)),
        f"installing {torch.read_text().strip()} (the largest part, once)",
    )
    locks = {name: ROOT / "requirements" / f"{name}.lock" for name in KINDS}
    # The dev lock holds all of the run lock in the same versions.
    dev = fingerprint([locks["dev"]], "dev", torch_made_from)
    stamp = STAMPS / "packages"
    if kind == "run" and stamp.is_file() and stamp.read_text() == dev:
        return
    lock = locks[kind]
    once(
        "packages",
        fingerprint([lock], kind, torch_made_from),
        # --no-deps: the lock is complete, and so nothing can bring another torch.
        lambda: pip("--no-deps", "--requirement", str(lock)),
        f"installing the packages of requirements/{lock.name}",
    )


def install_project() -> None:
    import tomllib  # here, since an older Python must get as far as the sentence that names 3.11

    # Of pyproject.toml only what the build reads; a changed rule of the linter installs nothing anew.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    build = [project["build-system"], project["project"]["version"], project["tool"]["hatch"]]
    once(
        "project",
        fingerprint([], json.dumps(build, sort_keys=True), str(ROOT)),
        lambda: pip("--no-deps", "--editable", str(ROOT)),
        "installing Tuneyard itself, editable",
    )


def fetch_assets() -> None:
    script = ROOT / "scripts" / "assets.py"
    made_from = fingerprint([ROOT / "package-lock.json", script])
    if not all(path.is_file() for path in asset_targets(script)):
        (STAMPS / "assets").unlink(missing_ok=True)
    once(
        "assets",
        made_from,
        lambda: run_script(script),
        "fetching the browser assets",
    )


def asset_targets(script: Path) -> list[Path]:
    sys.path.insert(0, str(script.parent))
    from assets import FILES, VENDOR

    return [VENDOR / target for target in FILES.values()]


def compile_messages() -> None:
    catalogues = sorted(ROOT.glob("locale/*/LC_MESSAGES/*.po"))
    stale = [
        po
        for po in catalogues
        if not (mo := po.with_suffix(".mo")).is_file() or mo.stat().st_mtime < po.stat().st_mtime
    ]
    if stale:
        say("compiling the translations")
        run_script(ROOT / "scripts" / "messages.py")


def run_script(script: Path) -> None:
    subprocess.run([PYTHON, str(script)], check=True, cwd=ROOT)


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "run"
    if kind not in KINDS:
        sys.exit(f"usage: setup.py {'|'.join(KINDS)}")
    if sys.version_info[:2] != (3, 11):
        sys.exit(
            f"Tuneyard needs Python 3.11; this is {sys.version.split()[0]}. "
            "Name one: make PYTHON=/path/to/python3.11 run"
        )
    lock_folder = ROOT / "build"
    lock_folder.mkdir(exist_ok=True)
    with (lock_folder / "setup.lock").open("w") as lock:
        # Two `make` at once would write into one environment.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            make_environment()
            install_packages(kind)
            install_project()
            fetch_assets()
            compile_messages()
        except subprocess.CalledProcessError as error:
            command = " ".join(map(str, error.cmd))
            sys.exit(f"setup    | this failed (status {error.returncode}): {command}\nMend the cause above and repeat.")


if __name__ == "__main__":
    main()
