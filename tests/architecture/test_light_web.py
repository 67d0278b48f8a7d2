"""What the web process has imported once every page and route is known."""

from __future__ import annotations

import json
from collections.abc import Callable

HEAVY = ["torch", "transformers", "onnxruntime", "datasets", "mlflow", "ray", "pyarrow", "sklearn", "pandas", "scipy"]

_WEB = """
import importlib, json, sys
import django
from django.conf import settings
django.setup()
importlib.import_module("tuneyard.wsgi")
from django.urls import get_resolver
def walk(patterns):
    return sum(walk(item.url_patterns) if hasattr(item, "url_patterns") else 1 for item in patterns)
routes = walk(get_resolver().url_patterns)
from modelkit import catalog
catalog.tasks(); catalog.methods()
print(json.dumps({"routes": routes, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def test_the_web_process_imports_no_machine_learning_library(fresh: Callable[[str], str]) -> None:
    seen = json.loads(fresh(_WEB))
    assert seen["routes"] > 20
    assert "django" in seen["modules"]
    assert [name for name in HEAVY if name in seen["modules"]] == []


def test_the_supervisor_is_light(fresh: Callable[[str], str]) -> None:
    code = "import json, sys; import tuneyard.supervisor.__main__; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(fresh(code))
    assert [name for name in [*HEAVY, "celery", "numpy", "apps", "workers"] if name in modules] == []
