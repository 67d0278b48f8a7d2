"""Imports by real workers over REST: killed in the middle of a download, with the message lost, and two at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.modelkit.launching import wait_for
from tests.workers.hub_repo import write_repo
from tests.workers.hub_server import COMMIT, Hub
from tests.workers.stack import Stack

WEIGHTS_BYTES = 12_000_000


@pytest.fixture(scope="module")
def hub(running_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A slow hub, which the worker of queue `cpu` is started anew to know."""
    pytest.importorskip("huggingface_hub", reason="needs the extra `worker`")
    repo = write_repo(tmp_path_factory.mktemp("hub") / "repo", weights_bytes=WEIGHTS_BYTES)
    made = Hub(repo, pace=3_000_000)
    running_stack.environment["TUNEYARD_HUB_URL"] = made.url
    if "cpu" in running_stack.processes:
        running_stack.kill("cpu")
    yield made
    made.close()


def _start(stack: Stack, name: str) -> str:
    stack.post("/base-models", {"source": {"kind": "hub", "repo": "tiny/encoder"}, "name": name})
    return f"/base-models/{name}"


def _ended(stack: Stack, path: str) -> dict[str, Any]:
    state: dict[str, Any] = wait_for(
        lambda: (s := stack.get(path))["status"] != "importing" and s, timeout_s=120, what=f"{path}\n{stack.log('cpu')}"
    )
    return state


def test_a_worker_killed_while_downloading_goes_on_at_the_byte(hub: Hub, stack: Stack) -> None:
    path = _start(stack, "killed")
    wait_for(lambda: stack.get(path)["progress"] > 0.2, timeout_s=60, what="progress")
    stack.kill("cpu")
    assert stack.get(path)["status"] == "importing"
    sent = hub.sent_bytes
    assert 0 < sent < WEIGHTS_BYTES
    hub.served.clear()
    hub.pace = 0
    stack.start("cpu")
    model = _ended(stack, path)
    assert (model["status"], model["revision"]) == ("ready", COMMIT), model
    assert [wanted for name, wanted in hub.served if name == "model.safetensors" and wanted.startswith("bytes=")]
    # Sockets hold some that were sent and never written.
    assert hub.sent_bytes < WEIGHTS_BYTES * 1.6
    folder = next((stack.home / "base-models").glob("[!.]*"))
    assert (folder / "model.safetensors").read_bytes() == hub.content("model.safetensors")


def test_a_message_that_was_lost_is_sent_again_and_two_go_one_by_one(hub: Hub, stack: Stack) -> None:
    hub.pace = 0
    stack.kill("redis")
    paths = [_start(stack, name) for name in ("first", "second")]
    assert {stack.get(path)["status"] for path in paths} == {"importing"}
    stack.start("redis")
    assert [_ended(stack, path)["status"] for path in paths] == ["ready", "ready"]
    for path in paths:
        assert stack.client.delete(path).status_code == 204
