"""How soon a job starts: the whole product is started on a home of its own and asked over REST."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.training.recipes import Bench
from tests.e2e.conftest import Product

JOBS = 3
WAIT_S = 180.0


def measure_pickup(bench: Bench) -> dict[str, float]:
    """`pickup_s`: median seconds from the answer 201 to the first batch, by a worker that has run a job before."""
    product = Product(bench.folder / "product")
    try:
        product.start()
        headers = {"Authorization": f"Bearer {product.token('bench')}"}
        with httpx.Client(base_url=f"{product.url}/api/v1", headers=headers, timeout=60, trust_env=False) as client:
            _upload(client, bench.source)
            _start_and_cancel(client, product.home, 0)  # warms the worker
            times = [_start_and_cancel(client, product.home, number) for number in range(1, JOBS + 1)]
    finally:
        if product.process is not None:
            product.stop()
    return {"pickup_s": statistics.median(times)}


def _upload(client: httpx.Client, source: Path) -> None:
    client.post("/datasets", json={"name": "banking", "task": "text_classification"}).raise_for_status()
    with (source / "train.csv").open("rb") as train, (source / "test.csv").open("rb") as test:
        client.post("/datasets/banking/versions", files={"train": train, "test": test}).raise_for_status()
    _wait("the dataset", lambda: _answer(client, "/datasets/banking/versions/1")["status"] == "ready")


def _start_and_cancel(client: httpx.Client, home: Path, number: int) -> float:
    answer = client.post(
        "/jobs",
        json={
            "kind": "train",
            "task": "text_classification",
            "dataset": "banking@1",
            "base_model": "minilm-l6",
            "model_name": f"bench-{number}",
            "preset": "balanced",
        },
    )
    accepted = time.time()
    answer.raise_for_status()
    job = answer.json()["id"]
    events = home / "jobs" / job / "events.jsonl"
    # The recipe enters this phase when all is loaded and tokenized: next is the first batch.
    _wait("the first batch", lambda: _began(events) is not None)
    began = _began(events)
    client.post(f"/jobs/{job}/cancel").raise_for_status()
    ended = ("cancelled", "failed", "errored", "succeeded")
    _wait("the cancelled job", lambda: _answer(client, f"/jobs/{job}")["status"] in ended)
    return (began or 0.0) - accepted


def _began(events: Path) -> float | None:
    if not events.is_file():
        return None
    for line in events.read_text().splitlines():
        event = json.loads(line) if line.endswith("}") else {}
        if event.get("type") == "phase" and event.get("name") == "training":
            return float(event["t"])
    return None


def _answer(client: httpx.Client, path: str) -> dict[str, Any]:
    response = client.get(path)
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found


def _wait(what: str, ready: Any) -> None:
    deadline = time.monotonic() + WAIT_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {WAIT_S:.0f} s for {what}.")
        time.sleep(0.05)
