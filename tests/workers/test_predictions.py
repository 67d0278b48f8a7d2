"""Batch predictions through the real stack: from the POST to the files and the dataset made of them."""

from __future__ import annotations

import json

from tests.modelkit.launching import wait_for
from tests.workers.stack import TOKEN, Stack


def test_a_version_is_predicted_and_saved_as_a_dataset(stack: Stack) -> None:
    assert stack.ended(stack.job("oracle", steps=2))["status"] == "succeeded"
    body = {"kind": "predict", "model": "oracle@1", "dataset": "rows@1", "save_as": "told"}
    job = stack.ended(str(stack.post("/jobs", body)["id"]))
    assert job["status"] == "succeeded", job
    assert job["model"] is None
    assert job["metrics"] == {"rows": 10, "accuracy": 1.0}
    assert job["mlflow_run_id"] is None
    assert job["result_dataset"] == "told@1"
    answer = stack.client.get(f"/jobs/{job['id']}/predictions", params={"format": "jsonl"})
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert [row["row"] for row in rows] == [str(place) for place in range(10)]
    assert {row["label"] for row in rows} == {"yes"}
    # All answers are one class, which the dataset's own checks refuse: it came there and was looked at.
    version = wait_for(
        lambda: (v := stack.get("/datasets/told/versions/1"))["status"] == "rejected" and v, what="the checks"
    )
    assert version["dataset"] == "told"


def test_a_file_is_predicted(stack: Stack) -> None:
    if stack.client.get("/models/oracle/versions/1").status_code == 404:
        stack.ended(stack.job("oracle", steps=2))
    answer = stack.client.post(
        "/jobs/predictions",
        files={"file": ("messages.csv", b"text\nhello there\nwhere is my card\n")},
        data={"model": "oracle@1"},
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    assert answer.status_code == 201, answer.text
    job = stack.ended(answer.json()["id"])
    assert (job["status"], job["metrics"]) == ("succeeded", {"rows": 2}), job
    table = stack.client.get(f"/jobs/{job['id']}/predictions").text.splitlines()
    assert table[0] == "row,split,text,expected,label,score"
    assert table[1].startswith("2,,hello there,,yes,")
