"""Forks one child session per job from a process that has the heavy libraries imported already.

    python -m modelkit.launcher --socket PATH [--jobs FOLDER] [--preload torch,...] [--stop-timeout SECONDS]

A cold `import torch, transformers` takes 5 to 10 s; a fork of this process runs user code some 15 ms after the request.
For that to be safe the process stays single-threaded, runs no tensor operation and never touches CUDA.

The protocol is one JSON object a line over a Unix socket, in both directions:

    {"op": "ping"}                                  -> {"ok": true, "pid", "threads", "preloaded": [...], "children": n}
    {"op": "launch", "job_dir", "attempt", "device", "threads", "nice", "env": {...}}
                                                    -> {"ok": true, "pid", "started_at", "attempt", "already": bool}
    {"op": "list"}                                  -> {"ok": true, "children": [{"job_dir", "pid", "started_at", ...}]}
    {"op": "stop", "job_dir", "mode": "cancel"|"stop"}  -> {"ok": true}       asks; the child ends at its next step
    {"op": "kill", "job_dir"}                       -> {"ok": true, "killed": bool}      SIGKILL to the child's session

One child per folder, held by the folder's lock: a launch beside a living child answers with that child (`already`).
SIGTERM asks every child to checkpoint and stop, and waits. A SIGKILL of this process leaves the children running; the
next launcher finds them by pid and start time, and workers follow their files all the while. Knows no database.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import psutil

from modelkit.jobfolder import CREATE_TIME_TOLERANCE_S, Child, JobFolder, write_json

logger = logging.getLogger("tuneyard.launcher")

#: What a training imports before its own code; modules missing here (an installation without them) are skipped.
DEFAULT_PRELOAD = "torch,transformers,transformers.models.auto.modeling_auto,transformers.models.bert.modeling_bert"
POLL_S = 0.2
REQUEST_LIMIT_BYTES = 1 << 20


class Refused(Exception):
    """The request cannot be done; the text is the answer."""


class Launcher:
    """The event loop: requests from the socket, ends of children, the stop of the whole product."""

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
        except (Refused, ValueError, TypeError, AttributeError) as error:
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
            lock = _free_from_strays(folder, child)
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
        _kill_session(child)
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
            _become_child(
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
                _kill_session(self._children[path])
            _, status = os.waitpid(found.si_pid, 0)
            if path is not None:
                self._ended(path, returncode=os.waitstatus_to_exitcode(status))
        for path in [path for path in self._foreign if not self._children[path].alive]:
            _kill_session(self._children[path])
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
            _kill_session(child)
        deadline = time.monotonic() + 5.0
        while self._children and time.monotonic() < deadline:
            time.sleep(0.02)
            self._reap()
        self._listener.close()


# --- in the child ---------------------------------------------------------------------------------------------------


def _become_child(
    folder: JobFolder, *, keep: int, gate: int, attempt: int, device: str, threads: int, nice: int, env: dict[str, str]
) -> NoReturn:
    """Turn this fresh fork into the job's process; returns to nobody."""
    status = 70
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if os.read(gate, 1) != b"!":
            os._exit(status)
        log = os.open(folder.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        for low, high in ((3, keep), (keep + 1, 65536)):
            os.closerange(low, high)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os.environ.update(env)
        os.nice(nice)
        with suppress(OSError):
            # When memory runs out, a training goes before the database or a serving process.
            Path("/proc/self/oom_score_adj").write_text("500")
        os.chdir(folder.path)
        gc.enable()
        from modelkit import run

        status = run.main(folder.path, attempt=attempt, device=device, threads=threads)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # Not sys.exit: the launcher's own exit handlers and open files are none of the child's business.
        os._exit(status)


def _kill_session(child: Child) -> None:
    """SIGKILL to everything in the session that `child` leads or led, whatever process group it moved to."""
    with suppress(psutil.Error):
        if psutil.Process(child.pid).create_time() - child.started_at > CREATE_TIME_TOLERANCE_S:
            return  # the pid belongs to somebody else by now, and with it perhaps a session of that number
    for pid in psutil.pids():
        with suppress(ProcessLookupError):
            if os.getsid(pid) == child.pid:
                os.kill(pid, signal.SIGKILL)


def _free_from_strays(folder: JobFolder, child: Child | None) -> int:
    """The lock of a folder whose child is dead while something it started still lives; raises Refused."""
    if child is not None:
        _kill_session(child)
    for _ in range(50):
        lock = folder.lock()
        if lock is not None:
            return lock
        time.sleep(0.02)
    raise Refused(f"{folder.path} is locked by a process that is not the job's child")


def _describe(child: Child, **more: Any) -> dict[str, Any]:
    return {"pid": child.pid, "started_at": child.started_at, "attempt": child.attempt, **more}


# --- start ----------------------------------------------------------------------------------------------------------


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


def preload(names: list[str]) -> list[str]:
    """Import modules, saying which could not be; returns those imported."""
    done = []
    for name in names:
        began = time.monotonic()
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken plugin must not keep every other task from running
            logger.warning("%s is not preloaded: %s: %s", name, type(error).__name__, error)
            continue
        done.append(name)
        logger.info("Preloaded %s in %.1f s.", name, time.monotonic() - began)
    return done


def _recipes() -> list[str]:
    """The training module of every task, so that the first batch waits for no import."""
    from modelkit import catalog

    return [f"modelkit.tasks.{name}.train" for name in catalog.tasks()]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m modelkit.launcher", description=__doc__.splitlines()[0])
    parser.add_argument("--socket", type=Path, required=True)
    home = Path(os.environ.get("TUNEYARD_HOME", "") or "var")
    parser.add_argument("--jobs", type=Path, default=home / "jobs", help="the folder that holds the job folders")
    parser.add_argument("--preload", default=DEFAULT_PRELOAD, help="modules, separated by commas; recipes come on top")
    parser.add_argument("--stop-timeout", type=float, default=20.0, help="seconds that checkpoints may take at a stop")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    # Thread pools do not survive a fork: none may start here. The child sets its own numbers.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    options.jobs.mkdir(parents=True, exist_ok=True)
    names = [name for name in options.preload.split(",") if name]
    preloaded = preload(names + (_recipes() if names else []))
    # What is alive now stays: the collector leaves these pages alone, and they stay shared with the children.
    gc.collect()
    gc.freeze()
    threads = psutil.Process().num_threads()
    if threads > 1:
        logger.warning("%d threads run after the imports; a forked child may find a lock held for ever.", threads)
    launcher = Launcher(
        socket_path=options.socket,
        jobs=options.jobs.resolve(),
        preloaded=preloaded,
        stop_timeout_s=options.stop_timeout,
    )
    logger.info("Ready at %s.", options.socket)
    launcher.run()
    options.socket.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
