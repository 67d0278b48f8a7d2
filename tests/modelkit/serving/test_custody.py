"""A front that is killed under load: its callers get an answer, or a close between two requests, and no reset."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.modelkit.serving.toys import TOKEN, Host, make_bundle, revision, running, wait_until

BODY = b'{"inputs":["{sleep} refund"]}'


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("custody")
    make_bundle(folder / "first")
    with Host(folder / "home") as host:
        host.apply(running("intents", revision(1, folder / "first")))
        host.wait_for("intents", "live")
        yield host


def connect(host: Host, segment_bytes: int | None = None) -> socket.socket:
    """With small segments, little is taken from either side before the other one reads."""
    connection = socket.socket()
    connection.settimeout(20)
    if segment_bytes is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment_bytes)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", host.port))
    return connection


def request(body: bytes = BODY, *lines: str, length: int | None = None) -> bytes:
    head = [
        "POST /predict/intents HTTP/1.1",
        "host: x",
        f"authorization: Bearer {TOKEN}",
        f"content-length: {len(body) if length is None else length}",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def read_answer(connection: socket.socket) -> bytes:
    """One answer with its body; the connection stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    while len(body) < length_of(head):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def length_of(answer: bytes) -> int:
    return int(answer.partition(b"content-length: ")[2].split(b"\r\n")[0])


def front_pid(host: Host) -> int:
    """Of the front that answers now; what is observed may still tell of the one killed before."""

    def look() -> int | None:
        pid = host.observed().front.pid
        with suppress(psutil.NoSuchProcess):
            if pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return pid
        return None

    return wait_until(look, what="the front")


def held(host: Host) -> set[int]:
    """The callers' ports of the connections that the agent has open."""
    assert host.agent is not None
    return {c.raddr.port for c in psutil.Process(host.agent.pid).net_connections("tcp") if c.raddr}


@contextmanager
def connected(host: Host, count: int = 1, segment_bytes: int | None = None) -> Iterator[list[socket.socket]]:
    """Connections that the agent is known to hold: each has been answered once."""
    opened = [connect(host, segment_bytes) for _ in range(count)]
    try:
        for connection in opened:
            connection.sendall(request(b'{"inputs":["card"]}'))
            assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        ports = {connection.getsockname()[1] for connection in opened}
        wait_until(lambda: held(host) >= ports, what="the agent's hold")
        yield opened
    finally:
        for connection in opened:
            connection.close()


def assert_told_to_come_again(answer: bytes) -> dict[str, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n"), answer
    assert b"\r\nretry-after: 1\r\n" in head
    assert b"\r\nconnection: close" in head
    error: dict[str, str] = json.loads(body)["error"]
    assert error["code"] == "front_down"
    assert error["hint"]
    assert error["request_id"].encode() in head
    return error


def test_requests_in_flight_of_a_killed_front_get_503_with_retry_after(serving: Host) -> None:
    pid = front_pid(serving)
    with connected(serving, 8) as callers:
        for number, caller in enumerate(callers):
            caller.sendall(request(BODY, f"x-request-id: call-{number}"))
        # Whoever is answered after them tells that the front has read them.
        assert serving.client().get("/v2/health/live").status_code == 200
        os.kill(pid, signal.SIGKILL)
        answers = [read_all(caller) for caller in callers]
    told = [answer for answer in answers if not answer.startswith(b"HTTP/1.1 200 ")]
    assert told
    names = {assert_told_to_come_again(answer)["request_id"] for answer in told}
    assert names <= {f"call-{number}" for number in range(8)}
    assert len(names) == len(told)
    assert serving.predict("intents").status_code == 200


def test_a_request_that_the_front_had_not_read_is_told_as_well(serving: Host) -> None:
    pid = front_pid(serving)
    with connected(serving) as (caller,):
        os.kill(pid, signal.SIGSTOP)
        caller.sendall(request())
        os.kill(pid, signal.SIGKILL)
        assert_told_to_come_again(read_all(caller))


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(request()[:40], id="its headers"),
        pytest.param(request(b'{"inputs":', length=1000), id="its body"),
        pytest.param(request() + request(b'{"inputs":', length=1000), id="a second body behind a whole request"),
    ],
)
def test_a_caller_who_is_still_sending_is_told_as_well(serving: Host, sent: bytes) -> None:
    pid = front_pid(serving)
    with connected(serving) as (caller,):
        caller.sendall(sent)
        # A second caller's answer says that the front has read what the first one sent.
        assert serving.predict("intents").status_code == 200
        os.kill(pid, signal.SIGKILL)
        assert_told_to_come_again(read_all(caller))


@pytest.mark.parametrize("sent", [request()[:40], request(b'{"inputs":', length=1000)], ids=["headers", "body"])
def test_a_second_request_that_still_comes_when_the_first_is_answered_is_told(serving: Host, sent: bytes) -> None:
    pid = front_pid(serving)
    with connected(serving) as (caller,):
        caller.sendall(request() + sent)
        assert read_answer(caller).startswith(b"HTTP/1.1 200 ")
        os.kill(pid, signal.SIGKILL)
        assert_told_to_come_again(read_all(caller))


def test_half_an_answer_stays_half_an_answer(serving: Host) -> None:
    pid = front_pid(serving)
    with connected(serving, segment_bytes=536) as (caller,):
        caller.sendall(request(json.dumps({"inputs": ["card"] * 256}).encode()) * 14 + request()[:40])
        seen = [-1]

        def no_more_comes() -> bool:
            seen.append(len(caller.recv(1_000_000, socket.MSG_PEEK)))
            return len(seen) > 10 and len(set(seen[-10:])) == 1

        wait_until(no_more_comes, what="an answer that is too much for this caller")
        os.kill(pid, signal.SIGSTOP)
        # What the system had taken is read, which leaves room for another answer behind the half one.
        caller.settimeout(0.5)
        rest = b""
        with suppress(TimeoutError):
            while True:
                rest += caller.recv(1_000_000)
        caller.settimeout(20)
        os.kill(pid, signal.SIGKILL)
        rest += read_all(caller)
    whole = 0
    while len(body := rest.partition(b"\r\n\r\n")[2]) >= length_of(rest):
        assert rest.startswith(b"HTTP/1.1 200 ")
        rest = body[length_of(rest) :]
        whole += 1
    assert 0 < whole < 13
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert rest.count(b"HTTP/1.1") == 1


def test_a_connection_between_two_requests_is_closed_and_nothing_else(serving: Host) -> None:
    pid = front_pid(serving)
    with connected(serving) as (caller,):
        os.kill(pid, signal.SIGKILL)
        assert read_all(caller) == b""


def test_under_load_every_caller_gets_an_answer_or_a_close_between_two_requests(serving: Host) -> None:
    stop = threading.Event()

    def keep_asking(caller: socket.socket) -> list[bytes]:
        """The first lines of what came. An end in the middle of an answer, or a reset, raises."""
        seen = []
        while not stop.is_set():
            try:
                caller.sendall(request(b'{"inputs":["card"]}'))
            except BrokenPipeError:
                return seen
            if not (first := caller.recv(65536)):
                return seen
            while b"\r\n\r\n" not in first or not first.endswith(b"}"):
                piece = caller.recv(65536)
                assert piece, first
                first += piece
            seen.append(first.partition(b"\r\n")[0])
        return seen

    with connected(serving, 8) as callers, ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(keep_asking, caller) for caller in callers]
        os.kill(front_pid(serving), signal.SIGKILL)
        seen = [line for task in asking for line in task.result(30)]
        stop.set()
    assert set(seen) <= {b"HTTP/1.1 200 OK", b"HTTP/1.1 503 Service Unavailable"}


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda caller: caller.close(), id="the caller closes"),
        pytest.param(lambda caller: caller.sendall(b"no HTTP at all\r\n\r\n"), id="the front refuses and closes"),
        pytest.param(lambda caller: caller.sendall(request(BODY, "connection: close")), id="it is the last request"),
    ],
)
def test_the_agent_lets_go_of_a_connection_that_has_ended(
    serving: Host, leave: Callable[[socket.socket], None]
) -> None:
    with connected(serving, 3) as callers:
        ports = {caller.getsockname()[1] for caller in callers}
        for caller in callers:
            leave(caller)
            if caller.fileno() >= 0:
                assert read_all(caller).startswith(b"HTTP/1.1 ")
                caller.close()
        wait_until(lambda: not held(serving) & ports, what="the agent letting go")


def test_the_next_agent_is_told_of_connections_that_were_open_before(host: Host, first: Path) -> None:
    host.apply(running("intents", revision(1, first)))
    host.wait_for("intents", "live")
    pid = front_pid(host)
    with connected(host, 2) as callers:
        host.kill_agent()
        callers[0].sendall(request(b'{"inputs":["card"]}'))
        assert read_answer(callers[0]).startswith(b"HTTP/1.1 200 ")
        host.start_agent()
        ports = {caller.getsockname()[1] for caller in callers}
        wait_until(lambda: held(host) >= ports, what="the new agent's hold")
        assert front_pid(host) == pid
        os.kill(pid, signal.SIGSTOP)
        callers[0].sendall(request())
        os.kill(pid, signal.SIGKILL)
        assert_told_to_come_again(read_all(callers[0]))
        assert read_all(callers[1]) == b""
