"""Several worker processes claim at once, on both databases: no job and no device is ever given twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack

from tests.modelkit.launching import ROOT
from tests.workers.stack import Stack

JOBS = 24
WORKERS = 4

_QUEUE = f"""
import json
from django.utils import timezone
from apps.accounts.auth import Identity
from apps.accounts.models import Membership
from apps.jobs.models import Device, Job
from apps.jobs.schemas import TrainRequest
from apps.jobs.services import job_create
member = Membership.objects.get(workspace__name="default")
owner = Identity(member.user, member.workspace, member.role)
for number in range({JOBS}):
    job_create(by=owner, request=TrainRequest(kind="train", task="toy_counts", dataset="rows@1", base_model="none",
                                              model_name=f"claimed-{{number}}", params={{"steps": 1}}))
    Device.objects.create(host="h", name=f"d{{number}}", title="d", memory_bytes=1 << 30, seen_at=timezone.now())
print(json.dumps(Job.objects.count()))
"""

#: One worker's loop, without its device and its child: say that it is ready, wait for the start, claim what there is.
_CLAIM = """
import json, os, sys
import django; django.setup()
from django.db import connection
from apps.jobs.services import job_claim
connection.ensure_connection()
print("ready", flush=True)
sys.stdin.readline()
taken, misses = [], 0
while misses < 3:
    job = job_claim(owner=f"worker-{os.getpid()}", host="h")
    if job is None:
        misses += 1
        continue
    taken.append([job.public_id, job.device.name])
print(json.dumps(taken), flush=True)
"""


def test_workers_that_claim_at_once_share_the_queue(make_stack: Callable[[], Stack]) -> None:
    stack = make_stack()
    stack.start("redis")
    assert stack.django(_QUEUE) == JOBS
    with ExitStack() as closing:
        workers = [
            closing.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _CLAIM],
                    cwd=ROOT,
                    env=stack.environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(WORKERS)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        claims = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    taken = [claim for claims_of_one in claims for claim in claims_of_one]
    assert len({job for job, _device in taken}) == len(taken) == JOBS
    assert len({device for _job, device in taken}) == JOBS
    assert stack.rows("SELECT DISTINCT status, attempt FROM jobs_job") == [("running", 1)]
    held = stack.rows("SELECT count(DISTINCT job_id) FROM jobs_device WHERE job_id IS NOT NULL")
    assert held == [(JOBS,)]
    assert stack.rows("SELECT count(*) FROM jobs_jobtransition WHERE to_status = ?", "running") == [(JOBS,)]
