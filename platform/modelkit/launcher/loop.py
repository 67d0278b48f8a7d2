"""The launcher's event loop: requests from the socket, ends of children, the stop of the whole product."""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from modelkit.jobfolder import Child, JobFolder, write_json
from modelkit.launcher.child import LockHeld, become_child, free_from_strays, kill_session

logger = logging.getLogger("tuneyard.launcher")

POLL_S = 0.2
REQUEST_LIMIT_BYTES = 1 << 20


class Refused(Exception):
    """The request cannot be done; the text is the answer."""


class Launcher:
    """Owns the socket and knows the children."""

    def __init__(self, *, socket_path: Path, jobs: Path, preloaded: list[str], stop_timeout_s: float) -> None:
        self._jobs = jobs
        self._preloaded = preloaded
        self._stop_timeout_s = stop_timeout_s
        self._children: dict[Path, Child] = {}
        self._foreign: set[Path] = set()
        self._buffers: dict[socket.socket, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        # A signal during select() must wake it: Python writes the signal's number into this pipe.
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        self._listener = _listen(socket_path)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def _ask_to_stop(self, *_: object) -> None:
        self._stopping = True

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        self._adopt()
        while not self._stopping:
            for key, _ in self._selector.select(timeout=POLL_S if self._foreign else 5.0):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == self._wake_read:
                    with suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                elif isinstance(key.fileobj, socket.socket):
                    self._receive(key.fileobj)
            self._reap()
        self._stop_all()

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._buffers[connection] = b""
            self._selector.register(connection, selectors.EVENT_READ)

    def _receive(self, connection: socket.socket) -> None:
        try:
            block = connection.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            block = b""
        buffer = self._buffers[connection] + block
        if not block or len(buffer) > REQUEST_LIMIT_BYTES:
            self._hang_up(connection)
            return
        *lines, self._buffers[connection] = buffer.split(b"\n")
        for line in lines:
            answer = json.dumps(self._answer(line)).encode() + b"\n"
            try:
                connection.settimeout(1.0)
                connection.sendall(answer)
                connection.setblocking(False)
            except OSError:
                self._hang_up(connection)
                return

    def _hang_up(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._buffers[connection]
        connection.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            operations: dict[str, Callable[..., dict[str, Any]]] = {
                "ping": self._ping,
                "launch": self._launch,
                "list": self._list,
                "stop": self._stop,
                "kill": self._kill,
            }
            operation = operations.get(request.pop("op", ""))
            if operation is None:
                raise Refused("op must be one of ping, launch, list, stop, kill")
            return {"ok": True, **operation(**request)}
        except (Refused, LockHeld, ValueError, TypeError, AttributeError) as error:
            return {"ok": False, "error": str(error)}
        except OSError as error:
            logger.exception("A request failed.")
            return {"ok": False, "error": str(error), "errno": error.errno}

    # --- operations -------------------------------------------------------------------------------------------------

    def _ping(self) -> dict[str, Any]:
        threads = psutil.Process().num_threads()
        return {"pid": os.getpid(), "threads": threads, "preloaded": self._preloaded, "children": len(self._children)}

    def _launch(
        self,
        *,
        job_dir: str,
        attempt: int,
        device: str = "cpu",
        threads: int = 1,
        nice: int = 0,
        env: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        folder = self._folder(job_dir)
        if folder.spec() is None:
            raise Refused(f"{job_dir} holds no readable spec.json")
        lock = folder.lock()
        if lock is None:
            child = folder.child()
            if child is not None and child.alive:
                return _describe(child, already=True)
            lock = free_from_strays(folder, child)
        try:
            folder.clear_attempt()
            child = self._fork(
                folder, lock, attempt=attempt, device=device, threads=threads, nice=nice, env=dict(env or {})
            )
        finally:
            os.close(lock)
        self._children[folder.path] = child
        self._foreign.discard(folder.path)
        logger.info("Job %s: attempt %d runs as process %d.", folder.path.name, attempt, child.pid)
        return _describe(child, already=False)

    def _list(self) -> dict[str, Any]:
        self._reap()
        return {"children": [{"job_dir": str(path), **_describe(child)} for path, child in self._children.items()]}

    def _stop(self, *, job_dir: str, mode: str = "cancel") -> dict[str, Any]:
        if mode not in ("cancel", "stop"):
            raise Refused("mode must be cancel or stop")
        self._folder(job_dir).request_stop(mode)  # type: ignore[arg-type]
        return {}

    def _kill(self, *, job_dir: str) -> dict[str, Any]:
        folder = self._folder(job_dir)
        child = self._children.get(folder.path) or folder.child()
        if child is None or not child.alive:
            return {"killed": False}
        kill_session(child)
        return {"killed": True}

    def _folder(self, job_dir: str) -> JobFolder:
        path = Path(job_dir).resolve()
        if path.parent != self._jobs or not path.is_dir():
            raise Refused(f"job_dir must be an existing folder directly in {self._jobs}")
        return JobFolder(path)

    # --- children ---------------------------------------------------------------------------------------------------

    def _fork(
        self, folder: JobFolder, lock: int, *, attempt: int, device: str, threads: int, nice: int, env: dict[str, str]
    ) -> Child:
        # The child waits at the gate until child.json is on disk. Should this process die first, the gate closes
        # without a byte and the child leaves before any user code has run: no child is ever unknown.
        gate_read, gate_write = os.pipe2(os.O_CLOEXEC)
        # What a buffer holds now would be written twice, once by each process.
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(gate_write)
            become_child(
                folder, keep=lock, gate=gate_read, attempt=attempt, device=device, threads=threads, nice=nice, env=env
            )
        try:
            child = Child(pid=pid, started_at=psutil.Process(pid).create_time(), attempt=attempt)
            write_json(
                folder.child_path, {"pid": pid, "started_at": child.started_at, "attempt": attempt}, durable=True
            )
            os.write(gate_write, b"!")
        finally:
            os.close(gate_read)
            os.close(gate_write)
        return child

    def _reap(self) -> None:
        while True:
            try:
                # Looked at but not yet reaped: the pid cannot be reused while strays of its session are killed.
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None:
                break
            path = next((path for path, child in self._children.items() if child.pid == found.si_pid), None)
            if path is not None:
                # Data loaders or ranks of a killed child would go on computing, and hold the folder's lock.
                kill_session(self._children[path])
            _, status = os.waitpid(found.si_pid, 0)
            if path is not None:
                self._ended(path, returncode=os.waitstatus_to_exitcode(status))
        for path in [path for path in self._foreign if not self._children[path].alive]:
            kill_session(self._children[path])
            self._ended(path, returncode=None)

    def _ended(self, path: Path, *, returncode: int | None) -> None:
        child = self._children.pop(path)
        self._foreign.discard(path)
        number = -returncode if returncode is not None and returncode < 0 else None
        logger.info("Job %s: process %d ended with %s.", path.name, child.pid, returncode)
        exit_ = {"pid": child.pid, "returncode": returncode, "signal": number, "attempt": child.attempt}
        try:
            if path.is_dir():
                write_json(JobFolder(path).exit_path, exit_)
        except OSError:
            logger.exception("Job %s: exit.json could not be written.", path.name)

    def _adopt(self) -> None:
        """Take over children that a launcher before this one left running; their exit status is lost to us."""
        for file in self._jobs.glob("*/child.json"):
            folder = JobFolder(file.parent)
            child = folder.child()
            if child is not None and folder.exit() is None and child.alive:
                self._children[folder.path] = child
                self._foreign.add(folder.path)
                logger.info("Job %s: process %d still runs and is taken over.", folder.path.name, child.pid)

    def _stop_all(self) -> None:
        if self._children:
            logger.info("Stopping: %d jobs write a checkpoint.", len(self._children))
        for path in self._children:
            with suppress(OSError):
                JobFolder(path).request_stop("stop")
        deadline = time.monotonic() + self._stop_timeout_s
        while self._children and time.monotonic() < deadline:
            self._selector.select(timeout=POLL_S)
            with suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
            self._reap()
        for child in self._children.values():
            kill_session(child)
        deadline = time.monotonic() + 5.0
        while self._children and time.monotonic() < deadline:
            time.sleep(0.02)
            self._reap()
        self._listener.close()


def _describe(child: Child, **more: Any) -> dict[str, Any]:
    return {"pid": child.pid, "started_at": child.started_at, "attempt": child.attempt, **more}


def _listen(path: Path) -> socket.socket:
    """Listen at `path`; a socket file that nobody answers is left from a crash and replaced."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)
        else:
            raise SystemExit(f"Another launcher answers at {path}.")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(64)
    listener.setblocking(False)
    return listener
