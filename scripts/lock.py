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
LEFT_OUT = re.compile(r"^(torch|triton|pytorch-triton|nvidia-.*|cuda-.*|tuneyard)$")


def resolve(extras: str, torch_pin: str, constraints: Path | None) -> dict[str, str]:
    """Name to version of all that `tuneyard[extras]` needs on this Python."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pin = Path(folder) / "torch.txt"
        pin.write_text(f"{torch_pin}\n")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), "--constraint", str(pin)]
        if constraints is not None:
            command += ["--constraint", str(constraints)]
        subprocess.run([*command, f"{ROOT}[{extras}]"], check=True)
        found = json.loads(report.read_text())["install"]
    packages = {re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): item["metadata"]["version"] for item in found}
    # A local version (`+cpu`) names one builder's wheel, not a release.
    return {name: version.partition("+")[0] for name, version in sorted(packages.items()) if not LEFT_OUT.match(name)}


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
