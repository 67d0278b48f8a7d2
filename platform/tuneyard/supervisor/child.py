"""One process of the instance: started, followed, started again when it dies, stopped.

waiting -> running -> (died -> pausing -> running)* -> stopped
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping

from tuneyard.supervisor.console import Console
from tuneyard.supervisor.kernel import die_with_parent
from tuneyard.supervisor.service import Service, until_ready

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
#: A process that lived this long has earned a quick restart.
HEALTHY_S = 60.0
#: After so many deaths in a row the user is told where to look.
_DEATHS_TO_EXPLAIN = 3
_LONGEST_LINE = 16 * 1024


class StartFailedError(Exception):
    """A one-shot service ended badly."""


def pause_before_restart(deaths: int) -> float:
    """Seconds to wait after the n-th death in a row, doubling."""
    # The exponent is bounded too: 2.0**1024 would overflow on a service that dies for days.
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(deaths - 1, 16))


def describe_exit(returncode: int) -> str:
    if returncode >= 0:
        return f"ended with status {returncode}"
    try:
        return f"was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was ended by signal {-returncode}"


class Child:
    """The supervisor's hold on one service."""

    #: Processes that some child waits for, and starts under way; the reaper of orphans leaves both alone.
    known: set[int] = set()
    starting = 0

    def __init__(self, service: Service, console: Console, environment: Mapping[str, str]) -> None:
        self.service = service
        self.ready = asyncio.Event()
        self.restarts = 0
        self._console = console
        self._environment = {**environment, **service.environment}
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._followers: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def run(self) -> None:
        """Keep the service running until `stop`. Raises `StartFailedError` for a one-shot that fails."""
        deaths = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            returncode = await self._run_once()
            if self._stopping.is_set():
                return
            if self.service.one_shot:
                if returncode:
                    raise StartFailedError(f"{self.service.name} {describe_exit(returncode)}.")
                self.ready.set()
                return
            deaths = 1 if time.monotonic() - started >= HEALTHY_S else deaths + 1
            pause_s = pause_before_restart(deaths)
            self._console.say(f"{self.service.name} {describe_exit(returncode)}; starting it again in {pause_s:.1f} s.")
            if deaths == _DEATHS_TO_EXPLAIN:
                self._console.say(f"{self.service.name} keeps ending. Its last lines: logs/{self.service.name}.log")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            self.restarts += 1

    async def stop(self) -> None:
        """SIGTERM, then after the service's patience SIGKILL for its whole group."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._signal(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self.service.stop_s)
        except TimeoutError:
            self._console.say(f"{self.service.name} did not stop within {self.service.stop_s:.0f} s; killing it.")
            self.kill()
            await process.wait()
        if self.service.owns_group:
            self._kill_group(process.pid)

    def kill(self) -> None:
        """SIGKILL for the process and its group, at once."""
        self._stopping.set()
        process = self._process
        if process is not None and process.returncode is None:
            self._kill_group(process.pid)
            self._signal(process, signal.SIGKILL)

    async def _run_once(self) -> int:
        try:
            process = await self._spawn()
        except OSError as error:
            self._console.say(f"{self.service.name} cannot be started: {error}")
            return 127
        if self._stopping.is_set():
            # Asked to stop while it was being started: `stop` saw no process yet.
            self._signal(process, signal.SIGTERM)
        probing = asyncio.create_task(self._announce_ready())
        try:
            returncode = await process.wait()
        finally:
            probing.cancel()
            Child.known.discard(process.pid)
            if not self.service.one_shot:
                self.ready.clear()
        if self.service.owns_group:
            self._kill_group(process.pid)
        return returncode

    async def _spawn(self) -> asyncio.subprocess.Process:
        # A pipe of our own: `wait` on asyncio's would not return while a grandchild still holds its other end.
        reading, writing = os.pipe()
        Child.starting += 1
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.service.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env=self._environment,
                # A session of its own: Ctrl-C on the terminal reaches the supervisor only, which stops in order.
                start_new_session=True,
                # Safe: the supervisor has no threads.
                preexec_fn=die_with_parent(self.service.nice),
            )
            Child.known.add(self._process.pid)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
            Child.starting -= 1
        # Its own task, which outlives the process: children that live on keep writing to the same pipe.
        follower = asyncio.create_task(self._follow(reading))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)
        return self._process

    async def _announce_ready(self) -> None:
        if self.service.one_shot:
            return
        if self.service.ready is not None:
            await until_ready(self.service.ready)
        self.ready.set()

    async def _follow(self, descriptor: int) -> None:
        output = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(descriptor, "rb", buffering=0)
        )
        rest = b""
        while chunk := await output.read(64 * 1024):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._write(line)
        if rest:
            self._write(rest)

    def _write(self, line: bytes) -> None:
        self._console.line(self.service.name, line[:_LONGEST_LINE].decode("utf-8", "replace"))

    @staticmethod
    def _signal(process: asyncio.subprocess.Process, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    @staticmethod
    def _kill_group(pid: int) -> None:
        # The leader's pid names the group as long as anybody is left in it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
