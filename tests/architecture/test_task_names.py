"""The web sends Celery tasks by name: each must be registered where workers run, on a queue that is served."""

from __future__ import annotations

import json
from collections.abc import Callable

_WORKER = """
import json
import django
django.setup()
from workers.app import app
app.loader.import_default_modules()
app.finalize()
from apps.jobs import queue
schedule = app.conf.beat_schedule or {}
print(json.dumps({
    "registered": sorted(app.tasks),
    "sent": sorted(queue.QUEUE_OF),
    "queues": sorted(set(queue.QUEUE_OF.values())),
    "scheduled": sorted(entry["task"] for entry in schedule.values()),
    "constants": sorted(v for k, v in vars(queue).items() if k.isupper() and isinstance(v, str) and "." in v),
}))
"""


def test_every_name_is_registered_and_routed(fresh: Callable[[str], str]) -> None:
    seen = json.loads(fresh(_WORKER))
    assert seen["sent"] == seen["constants"], "a task name without a queue"
    assert set(seen["sent"]) <= set(seen["registered"])
    assert set(seen["scheduled"]) <= set(seen["registered"])
    ours = {name for name in seen["registered"] if not name.startswith("celery.")}
    assert ours == set(seen["sent"]), "a task that nobody can send"


def test_every_queue_has_a_worker(fresh: Callable[[str], str]) -> None:
    seen = json.loads(fresh(_WORKER))
    from tests.supervisor.commands import worker_queues

    assert set(seen["queues"]) == worker_queues()
