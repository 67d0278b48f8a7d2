"""When a replay of the golden set lets a revision go live."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from modelkit.bundle import Manifest
from modelkit.serving.agent import golden
from modelkit.serving.agent.golden import verdict
from modelkit.serving.plan import GoldenReplay, Runtime


def manifest(**parity: Any) -> Manifest:
    recipe = [{"method": "dynamic_int8", "params": {}, "parity": parity}] if parity else []
    return Manifest(
        task="text_classification", name="intents", created_at="2026-01-01", request_example={}, recipe=recipe
    )


def replay(agree: int, drift: float) -> GoldenReplay:
    return GoldenReplay(total=64, agree=agree, max_drift=drift)


def test_a_model_as_trained_may_only_round_differently() -> None:
    assert verdict(replay(64, 0.0001), manifest(), Runtime()) == ""
    assert "64 of 64" in verdict(replay(64, 0.02), manifest(), Runtime())


@pytest.mark.parametrize(
    ("agree", "drift", "passes"), [(57, 0.2, True), (55, 0.3, True), (50, 0.2, False), (57, 0.6, False)]
)
def test_a_variant_is_held_to_what_was_measured_when_it_was_made(agree: int, drift: float, passes: bool) -> None:
    made = manifest(golden=64, agree=57, max_drift=0.2, mean_drift=0.01, ok=True)
    assert (verdict(replay(agree, drift), made, Runtime()) == "") is passes


def test_the_first_few_answers_of_a_variant_are_judged_by_their_drift() -> None:
    made = manifest(golden=64, agree=64, max_drift=0.05, mean_drift=0.01, ok=True)
    assert verdict(GoldenReplay(total=8, agree=7, max_drift=0.06), made, Runtime()) == ""
    assert verdict(GoldenReplay(total=8, agree=8, max_drift=0.9), made, Runtime()) != ""


@pytest.mark.parametrize(
    ("agree", "drift", "passes"), [(64, 0.02, True), (62, 0.02, True), (61, 0.02, False), (64, 0.05, False)]
)
def test_lower_precision_may_drift_a_little_more_and_change_few_labels(agree: int, drift: float, passes: bool) -> None:
    assert (verdict(replay(agree, drift), manifest(), Runtime(engine="openvino", precision="bf16")) == "") is passes


@pytest.mark.parametrize(
    "told", [b"", b"nonsense\r\n\r\n", b'HTTP/1.1 503 No\r\ncontent-length: 28\r\n\r\n{"error": {"message": "no"}}']
)
def test_a_front_that_goes_away_meanwhile_is_no_verdict(told: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def front() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(told)
        connection.close()

    thread = threading.Thread(target=front)
    thread.start()
    try:
        with pytest.raises((golden.Interrupted, ConnectionError)):
            golden._post_all(listener.getsockname()[1], "/predict/intents", {}, ["card"], 1)
    finally:
        thread.join()
        listener.close()
