"""From a raw file to an answered request, over REST alone.

    TUNEYARD_TOKEN=ty_... python docs/tutorials/rest_story.py --train tickets.csv --text "My card has not arrived"

Needs only `httpx`. `docs/tutorials/rest.md` explains each step; the end-to-end test runs this very file.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx


class Tuneyard:
    """The few verbs of the API that the story needs."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        )

    def call(self, method: str, path: str, **request: Any) -> Any:
        """One call; a refusal ends the story with its reason, its fields and what to do."""
        response = self.http.request(method, path, **request)
        if response.is_error:
            sys.exit(f"{method} {path} answered {response.status_code}: {response.text}")
        return response.json()

    def wait(self, path: str, *, until: set[str], failed: set[str], seconds: float) -> dict[str, Any]:
        """Poll `path` until its status is one of `until`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state: dict[str, Any] = self.call("GET", path)
            if state["status"] in until:
                return state
            if state["status"] in failed:
                sys.exit(f"{path} ended as {state['status']}: {state}")
            time.sleep(0.3)
        sys.exit(f"{path} did not become {' or '.join(sorted(until))} within {seconds:.0f} s")


def upload(api: Tuneyard, name: str, train: Path, test: Path | None) -> str:
    """Create the dataset, upload its first version and wait for the checks; returns the reference `name@1`."""
    api.call("POST", "/datasets", json={"name": name, "task": "text_classification"})
    parts = {"train": train, "test": test} if test else {"file": train}
    files = {part: (path.name, path.open("rb"), "text/csv") for part, path in parts.items() if path}
    version = api.call("POST", f"/datasets/{name}/versions", files=files)
    path = f"/datasets/{name}/versions/{version['version']}"
    ready = api.wait(path, until={"ready"}, failed={"rejected", "needs_mapping"}, seconds=300)
    print(f"{name}@{ready['version']}: {ready['rows']} rows, splits {ready['splits']}")
    for check in ready["checks"]:
        if check["severity"] != "pass":
            print(f"  {check['severity']}: {check['message']}")
    return f"{name}@{ready['version']}"


def run_job(api: Tuneyard, body: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Start a job once, however often this is sent, and wait for its end."""
    job = api.call("POST", "/jobs", json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
    print(f"job {job['id']} ({body['kind']}): {job['status']}")
    ends = {"failed", "errored", "cancelled"}
    done = api.wait(f"/jobs/{job['id']}", until={"succeeded"}, failed=ends, seconds=seconds)
    model = done["model"]
    print(f"  {model['name']}@{model['version']} {done['metrics_split']}: {done['metrics']}")
    return done


def wait_for_revision(api: Tuneyard, endpoint: str, number: int) -> None:
    """Until the revision answers; one that was refused ends the story with its reason."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        revisions = api.call("GET", f"/endpoints/{endpoint}")["revisions"]
        revision = next(item for item in revisions if item["number"] == number)
        if revision["status"] == "live":
            return
        if revision["status"] == "failed":
            sys.exit(f"revision {number} of {endpoint} was refused: {revision['reason']}")
        time.sleep(0.3)
    sys.exit(f"revision {number} of {endpoint} did not go live within 60 s")


def predict(serving: str, token: str, endpoint: str, text: str) -> dict[str, Any]:
    """Ask the endpoint, in both of its forms."""
    headers = {"Authorization": f"Bearer {token}"}
    plain = httpx.post(f"{serving}/predict/{endpoint}", headers=headers, json={"inputs": [text]}, trust_env=False)
    plain.raise_for_status()
    answer: dict[str, Any] = plain.json()
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
    oip = httpx.post(
        f"{serving}/v2/models/{endpoint}/infer", headers=headers, json={"inputs": [tensor]}, trust_env=False
    )
    oip.raise_for_status()
    labels = next(output["data"] for output in oip.json()["outputs"] if output["name"] == "label")
    if labels != [answer["outputs"][0]["label"]]:
        sys.exit(f"the two protocols disagree: {labels} and {answer}")
    print(f"{endpoint} revision {answer['revision']} ({answer['model']}): {text!r} -> {answer['outputs'][0]}")
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default=os.environ.get("TUNEYARD_URL", "http://localhost:8700"))
    parser.add_argument("--serving", default=os.environ.get("TUNEYARD_SERVING", "http://localhost:8701"))
    parser.add_argument("--train", type=Path, required=True, help="CSV, TSV, JSON or JSONL")
    parser.add_argument("--test", type=Path)
    parser.add_argument("--preset", default="instant")
    parser.add_argument("--name", default="tickets")
    parser.add_argument("--text", default="I am still waiting on my card?")
    options = parser.parse_args()
    token = os.environ["TUNEYARD_TOKEN"]
    api = Tuneyard(options.url, token)

    dataset = upload(api, options.name, options.train, options.test)

    train = {
        "kind": "train",
        "task": "text_classification",
        "dataset": dataset,
        "base_model": "minilm-l6",
        "model_name": f"{options.name}-intents",
        "preset": options.preset,
    }
    preview = api.call("POST", "/jobs/preview", json=train)
    if not preview["ready"]:
        sys.exit(f"not ready: {preview}")
    trained = run_job(api, train, seconds=1800)["model"]

    # The compressed variant is a version of the same model, with the trained one as its parent.
    compress = {"kind": "compress", "model": f"{trained['name']}@{trained['version']}", "method": "dynamic_int8"}
    small = run_job(api, compress, seconds=900)["model"]
    api.call("PUT", f"/models/{trained['name']}/aliases/challenger", json={"version": small["version"]})

    endpoint = f"{options.name}-live"
    api.call("POST", "/endpoints", json={"name": endpoint, "model": f"{trained['name']}@{trained['version']}"})
    api.wait(f"/endpoints/{endpoint}", until={"live"}, failed={"failed"}, seconds=60)
    first = predict(options.serving, token, endpoint, options.text)

    # The next version takes over behind the same address; no request fails meanwhile.
    api.call("POST", f"/endpoints/{endpoint}/revisions", json={"model": f"{trained['name']}@challenger"})
    wait_for_revision(api, endpoint, first["revision"] + 1)
    predict(options.serving, token, endpoint, options.text)

    api.call("POST", f"/endpoints/{endpoint}/rollback")
    for entry in api.call("GET", f"/endpoints/{endpoint}/timeline")["items"]:
        print(f"  {entry['at']} {entry['kind']} {entry.get('model_ref', '')}")


if __name__ == "__main__":
    main()
