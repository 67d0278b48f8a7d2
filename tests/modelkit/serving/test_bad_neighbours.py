"""Callers that misbehave, on a real front and runner: each gets its refusal, and the requests of others go on."""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.modelkit.serving.toys import OTHER_TOKEN, TOKEN, Host, make_bundle, revision, running, stopped, wait_until

BODY = b'{"inputs":["refund"]}'
INFER = "/v2/models/intents/infer"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("neighbours")
    make_bundle(folder / "first")
    with Host(folder / "home") as running_host:
        running_host.apply(
            running("intents", revision(1, folder / "first")),
            running("next-door", revision(1, folder / "first")),
            stopped("resting", revision(1, folder / "first")),
        )
        running_host.wait_for("intents", "live")
        running_host.wait_for("next-door", "live")
        yield running_host


@contextmanager
def neighbour(host: Host, name: str = "intents") -> Iterator[None]:
    """Another caller, who asks the endpoint of that name all the while, and of whom no request may fail."""
    done = threading.Event()
    wrong: list[str] = []
    asked = 0

    def ask() -> None:
        nonlocal asked
        with host.client() as client:
            while not done.is_set() or not asked:
                answer = client.post(f"/predict/{name}", json={"inputs": ["card"]})
                asked += 1
                if answer.status_code != 200 or answer.json()["outputs"][0]["label"] != "card":
                    wrong.append(answer.text)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(30)
    assert asked
    assert not wrong


def connect(host: Host) -> socket.socket:
    return socket.create_connection(("127.0.0.1", host.port), timeout=20)


def head(path: str, *lines: str, length: int | None = None, token: str = TOKEN) -> bytes:
    sized = [] if length is None else [f"content-length: {length}"]
    return "\r\n".join(
        [f"POST {path} HTTP/1.1", "host: x", f"authorization: Bearer {token}", *sized, *lines, "", ""]
    ).encode()


def whole(path: str, body: bytes, *lines: str, token: str = TOKEN) -> bytes:
    return head(path, *lines, length=len(body), token=token) + body


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def tensors(*texts: str, **other: object) -> bytes:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts, **other}
    return json.dumps({"inputs": [tensor]}).encode()


REFUSED: dict[str, tuple[str, bytes, tuple[str, ...], str, int]] = {
    "malformed JSON": ("/predict/intents", b'{"inputs": [', (), TOKEN, 400),
    "malformed tensors": (INFER, b'{"inputs": [', (), TOKEN, 400),
    "wrong datatype": (INFER, tensors("card", datatype="INT64"), (), TOKEN, 422),
    "wrong shape": (INFER, tensors("card", shape=[3]), (), TOKEN, 422),
    "unknown endpoint": ("/predict/nowhere", BODY, (), TOKEN, 404),
    "stopped endpoint": ("/predict/resting", BODY, (), TOKEN, 503),
    "expired key": ("/predict/intents", BODY, (), "ty_expired", 401),
    "key of another workspace": ("/predict/intents", BODY, (), OTHER_TOKEN, 404),
    "empty batch": ("/predict/intents", b'{"inputs": []}', (), TOKEN, 422),
    "empty tensor": (INFER, tensors(), (), TOKEN, 422),
    "10,000 items": ("/predict/intents", json.dumps({"inputs": ["a"] * 10_000}).encode(), (), TOKEN, 422),
    "10,000 elements": (INFER, tensors(*["a"] * 10_000), (), TOKEN, 422),
    "10,000 embeddings": (
        "/v1/embeddings", json.dumps({"model": "intents", "input": ["a"] * 10_000}).encode(), (), TOKEN, 422,
    ),
    "invalid UTF-8": ("/predict/intents", b'{"inputs": ["\xff"]}', (), TOKEN, 400),
    "invalid UTF-8 in tensors": (INFER, b'{"inputs": ["\xff"]}', (), TOKEN, 400),
    "oversized body": ("/predict/intents", b" " * 1_000_001, (), TOKEN, 413),
    "oversized tensors": (INFER, b" " * 1_000_001, (), TOKEN, 413),
    "a bomb": ("/predict/intents", gzip.compress(b" " * 50_000_000), ("content-encoding: gzip",), TOKEN, 413),
    "damaged gzip": ("/predict/intents", b"\x1f\x8b\x08", ("content-encoding: gzip",), TOKEN, 400),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_and_harms_nobody(host: Host, case: str) -> None:
    path, body, lines, token, status = REFUSED[case]
    with neighbour(host), connect(host) as connection:
        connection.sendall(whole(path, body, *lines, "connection: close", token=token))
        answer = read_all(connection)
    assert statuses(answer) == [status]
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"]
    assert error["message"]
    assert error["hint"]


def test_two_hundred_slow_callers_harm_nobody(host: Host) -> None:
    """Slow-loris: headers and bodies that never end. Each is answered 408 in the end, none holds up another."""
    slow = [connect(host) for _ in range(200)]
    try:
        with neighbour(host):
            for i, connection in enumerate(slow):
                connection.sendall(b"POST /predict/intents HTTP/1.1\r\nhost: x\r\n" if i % 2 else head("/", length=9))
            for _ in range(3):
                for i, connection in enumerate(slow):
                    connection.sendall(b"x-a: 1\r\n" if i % 2 else b"x")
            # The time-out is for the headers as a whole: bytes that trickle in do not extend it.
            assert slow[1].recv(200).startswith(b"HTTP/1.1 408")
    finally:
        for connection in slow:
            connection.close()


ENDLESS = {
    "header": head("/predict/intents")[:-2] + b"x-a: ",
    "name of a header": head("/predict/intents")[:-2],
    "trailer": head("/predict/intents", "transfer-encoding: chunked") + b"0\r\nx-a: ",
    "extension of a chunk": head("/predict/intents", "transfer-encoding: chunked") + b"5;",
}


@pytest.mark.parametrize("part", ENDLESS)
def test_what_never_ends_is_refused_before_it_fills_the_memory(host: Host, part: str) -> None:
    with neighbour(host), connect(host) as connection:
        connection.sendall(ENDLESS[part])
        # Ten times what is read before it is refused, and less than what is thrown away after that.
        for _ in range(80):
            connection.sendall(b"a" * 4096)
        answer = connection.recv(65536)
    assert statuses(answer) == [431]


def test_a_half_closed_connection_still_gets_its_answer(host: Host) -> None:
    with neighbour(host), connect(host) as connection:
        connection.sendall(whole("/predict/intents", b'{"inputs":["{sleep} refund"]}'))
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert statuses(answer) == [200]
    assert b'"refund"' in answer


@pytest.mark.parametrize("sent", [b"", b"POST /pre", head("/predict/intents", length=30) + b'{"inputs"'])
def test_a_connection_half_closed_too_early_is_just_closed(host: Host, sent: bytes) -> None:
    with neighbour(host), connect(host) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert statuses(read_all(connection)) in ([], [400])


def vanish_in_mid_request(connection: socket.socket) -> None:
    connection.sendall(head("/predict/intents", length=1000) + b'{"inputs":')


def vanish_before_the_answer(connection: socket.socket) -> None:
    connection.sendall(whole("/predict/intents", b'{"inputs":["{sleep}"]}'))


def never_read(connection: socket.socket) -> None:
    body = json.dumps({"inputs": ["refund"] * 256, "scores": True}).encode()
    connection.setblocking(False)
    for _ in range(50):
        try:
            connection.send(whole("/predict/intents", body))
        except BlockingIOError:
            break


def vanish_while_it_is_compressed(connection: socket.socket) -> None:
    body = json.dumps({"inputs": ["refund"] * 256, "scores": True}).encode()
    connection.sendall(whole("/predict/intents", body, "accept-encoding: gzip"))


def open_connections(host: Host) -> int:
    """As the front counts them, the one that asks included. Without a key it tells this machine."""
    page = httpx.get(f"{host.url}/metrics", trust_env=False).text
    return int(re.search(r"^tuneyard_serving_connections (\d+)", page, re.MULTILINE)[1])  # type: ignore[index]


@pytest.mark.parametrize(
    "misbehave", [vanish_in_mid_request, vanish_before_the_answer, never_read, vanish_while_it_is_compressed]
)
def test_callers_that_vanish_harm_nobody(host: Host, misbehave: Callable[[socket.socket], None]) -> None:
    # Not at the same endpoint, whose queue some of them fill.
    with neighbour(host, "next-door"):
        for _ in range(10):
            with connect(host) as connection:
                # Closed with a reset, as by a killed process.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                misbehave(connection)
    # Nothing of them is left: the front keeps the connections of the living only, and answers on.
    wait_until(lambda: open_connections(host) <= 1, what="the end of their connections")
    assert wait_until(lambda: host.predict("intents").status_code == 200, what="an answer")


def test_the_log_has_no_traceback(host: Host) -> None:
    """Last, after all the above."""
    assert "Traceback" not in (host.paths.logs / "front.log").read_text()
