#!/usr/bin/env python3
"""Write `requirements/*.lock` with pip's own resolver: `make lock`.

torch and what only torch brings (CUDA, triton) are left out: the set-up installs torch first, so that each machine
takes its own build once. The locks hold names and versions and nothing else: no address of a registry and no hash,
because a hash pins one platform's wheel (docs/adr/0007-locks-without-torch.md).
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"

# One lock per kind of installation. The first holds everything: the others are resolved within its versions, so that
# a package has one version wherever it is installed.
EXTRAS = {
    "dev": "worker,embedded,dev",
    "run": "worker,embedded",
    "worker": "worker",
    "web": "web",
    "serve": "serve",
}
#: Debian 12 has 3.11.2; requirements may differ between patch releases.
OLDEST_PYTHON = "3.11.0"
LEFT_OUT = re.compile(r"^(torch|triton|pytorch-triton|nvidia-.*|cuda-.*|tuneyard)$")


def resolve(extras: str, torch_pin: str, constraints: Path | None) -> dict[str, str]:
    """Name to version of all that `tuneyard[extras]` needs on any Python 3.11, whichever of them runs this."""
    wanted = [f"{ROOT}[{extras}]"]
    found = report(wanted, torch_pin, constraints)
    if older := sorted(wanted_by_the_oldest(found)):
        found = report([*wanted, *older], torch_pin, constraints)
    packages = {canonical(item["metadata"]["name"]): item["metadata"]["version"] for item in found}
    # A local version (`+cpu`) names one builder's wheel, not a release.
    return {name: version.partition("+")[0] for name, version in sorted(packages.items()) if not LEFT_OUT.match(name)}


def report(wanted: list[str], torch_pin: str, constraints: Path | None) -> list[dict[str, Any]]:
    """What pip would install for `wanted` into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        pin = Path(folder) / "torch.txt"
        pin.write_text(f"{torch_pin}\n")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(path), "--constraint", str(pin)]
        if constraints is not None:
            command += ["--constraint", str(constraints)]
        subprocess.run([*command, *wanted], check=True)
        installed: list[dict[str, Any]] = json.loads(path.read_text())["install"]
        return installed


def wanted_by_the_oldest(found: list[dict[str, Any]]) -> set[str]:
    """Requirements that hold for the first patch release only: a later one has in its library what they bring."""
    wanted = set()
    for item in found:
        for text in item["metadata"].get("requires_dist", []):
            requirement = Requirement(text)
            for extra in ("", *item.get("requested_extras", [])):
                here = {"extra": extra}
                there = {**here, "python_full_version": OLDEST_PYTHON}
                if requirement.marker and requirement.marker.evaluate(there) > requirement.marker.evaluate(here):
                    wanted.add(f"{requirement.name}{requirement.specifier}")
    return wanted


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    LOCKS.mkdir(exist_ok=True)
    torch_pin = (LOCKS / "torch.txt").read_text().strip()
    whole: Path | None = None
    for name, extras in EXTRAS.items():
        packages = resolve(extras, torch_pin, whole)
        lines = [f"# tuneyard[{extras}] without {torch_pin}; written by `make lock`, not by hand."]
        lines += [f"{package}=={version}" for package, version in packages.items()]
        path = LOCKS / f"{name}.lock"
        path.write_text("\n".join(lines) + "\n")
        whole = whole or path
        print(f"{path.relative_to(ROOT)}: {len(packages)} packages")


if __name__ == "__main__":
    main()
