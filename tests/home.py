"""An own home for all that tests write; loaded by `-p`, since pytest-django reads the settings before conftest."""

import atexit
import os
import shutil
import tempfile

if "TUNEYARD_HOME" not in os.environ:
    home = os.environ["TUNEYARD_HOME"] = tempfile.mkdtemp(prefix="ty-test-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
