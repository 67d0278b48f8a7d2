"""Checking of uploads by a real worker, which is killed, and whose message is lost: nothing acknowledged is."""

from __future__ import annotations

from typing import Any

from tests.modelkit.launching import wait_for
from tests.workers.stack import Stack

FINAL = {"ready", "rejected", "needs_mapping"}


def _table(rows: int) -> bytes:
    lines = (
        f'"words of row {number}, which are many and all different",{"ab"[number % 2]}\n' for number in range(rows)
    )
    return ("text,label\n" + "".join(lines)).encode()


def _upload(stack: Stack, name: str, rows: int) -> str:
    stack.post("/datasets", {"name": name, "task": "text_classification"})
    answer = stack.client.post(f"/datasets/{name}/versions", files={"file": ("rows.csv", _table(rows), "text/csv")})
    assert answer.status_code == 201, answer.text
    return f"/datasets/{name}/versions/{answer.json()['version']}"


def _ended(stack: Stack, path: str) -> dict[str, Any]:
    state: dict[str, Any] = wait_for(
        lambda: (s := stack.get(path))["status"] in FINAL and s, timeout_s=120, what=f"{path}\n{stack.log('cpu')}"
    )
    return state


def test_a_worker_checks_an_upload(stack: Stack) -> None:
    version = _ended(stack, _upload(stack, "quick", 200))
    assert (version["status"], version["rows"]) == ("ready", 200)


def _kill_midway(stack: Stack, rows: int) -> str:
    """Upload a table, kill the worker that checks it, and give the version's path."""
    path = _upload(stack, f"killed-{rows}", rows)
    wait_for(lambda: stack.get(path)["progress"] > 0.05, timeout_s=60, what="progress")
    stack.kill("cpu")
    return path


def test_a_worker_killed_while_checking_is_replaced(stack: Stack) -> None:
    for rows in (60_000, 240_000, 960_000):
        path = _kill_midway(stack, rows)
        in_time = stack.get(path)["status"] == "validating"
        stack.start("cpu")
        if in_time:
            break
    assert in_time, "each check ended before its worker was killed"
    version = _ended(stack, path)
    assert (version["status"], version["rows"]) == ("ready", rows)
    attempts = stack.django(
        "import json; from apps.datasets.models import DatasetVersion as V; "
        f"print(json.dumps([v.attempt for v in V.objects.filter(dataset__name='killed-{rows}')]))"
    )
    assert attempts == [2]


def test_an_upload_while_redis_is_down_is_found_by_the_sweep(stack: Stack) -> None:
    stack.kill("redis")
    path = _upload(stack, "silent", 200)
    assert stack.get(path)["status"] == "validating"
    stack.start("redis")
    assert _ended(stack, path)["status"] == "ready"
