"""An own home for all that tests write; loaded by `-p`, since pytest-django reads the settings before conftest.

Each process of a run in parallel has one of its own; the variable that it inherits is its parent's.
"""

import atexit
import os
import shutil
import tempfile

if "TUNEYARD_HOME" not in os.environ or "PYTEST_XDIST_WORKER" in os.environ:
    home = os.environ["TUNEYARD_HOME"] = tempfile.mkdtemp(prefix="ty-test-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
