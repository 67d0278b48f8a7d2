"""The web may import everything of `modelkit.data` but the heavy files."""

from __future__ import annotations

import subprocess
import sys


def test_light_files_bring_no_arrow() -> None:
    code = (
        "import sys; from modelkit.data import options, encoding, dialect, readers, roles, splits, damage, checks,"
        " stats, store; print([m for m in ('pyarrow', 'numpy', 'pandas', 'torch') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
