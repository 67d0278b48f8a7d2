"""Runs a set of services as one: start in order of need, restart what dies, stop in stages, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from tuneyard.supervisor.child import Child, StartFailedError
from tuneyard.supervisor.console import Console
from tuneyard.supervisor.guardian import LAST_WORD
from tuneyard.supervisor.kernel import MARKER, become_subreaper, end, processes_of, reap_orphans
from tuneyard.supervisor.service import Service

#: What trainings and serving may take to stop when the supervisor itself was killed.
GUARDIAN_GRACE_S = 30.0
#: How long a service lets another one start before it takes the processor too.
COURTESY_S = 10.0
_SWEEP_GRACE_S = 5.0


class Supervisor:
    """One start of one instance. `identity` is a word that stands for the home."""

    def __init__(
        self,
        services: Sequence[Service],
        console: Console,
        *,
        identity: str,
        environment: Mapping[str, str],
        guardian_grace_s: float = GUARDIAN_GRACE_S,
    ) -> None:
        self._console = console
        self._guardian_grace_s = guardian_grace_s
        self._marker = f"{identity}.{secrets.token_hex(8)}"
        self._environment = {**environment, MARKER: self._marker}
        self.children = {service.name: Child(service, console, self._environment) for service in services}
        self._asked_to_stop = asyncio.Event()
        self._requests = 0
        self._guardian: asyncio.subprocess.Process | None = None

    async def run(self, *, announce: Mapping[str, Callable[[], None]]) -> bool:
        """Run until SIGINT or SIGTERM; `announce` is called when the service so named is first ready.

        Returns False when the start was given up.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under `nohup` the end of the terminal is to be ignored.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._request_stop)
        become_subreaper()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self._clear_leftovers()
        await self._start_guardian()
        tasks = [asyncio.create_task(self._run_child(child)) for child in self.children.values()]
        tasks += [
            asyncio.create_task(self._announce(name, say)) for name, say in announce.items() if name in self.children
        ]
        failed = False
        try:
            stop = asyncio.create_task(self._asked_to_stop.wait())
            pending: set[asyncio.Task[object]] = {*tasks, stop}
            while not stop.done() and not failed:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {stop}:
                    if isinstance(error := task.exception(), StartFailedError):
                        self._console.say(f"The start was given up: {error}")
                        failed = True
                    elif error is not None:
                        raise error
        finally:
            await self._stop_all()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await self._dismiss_guardian()
        return not failed

    def request_stop(self) -> None:
        """As Ctrl-C does; the second time everything is killed at once."""
        self._request_stop()

    def _request_stop(self) -> None:
        self._requests += 1
        self._asked_to_stop.set()
        if self._requests == 1:
            self._console.say("Stopping. Trainings write a checkpoint first; press Ctrl-C again to kill at once.")
        else:
            for child in self.children.values():
                child.kill()

    async def _run_child(self, child: Child) -> None:
        for name in child.service.needs:
            if name in self.children:
                await self.children[name].ready.wait()
        for name in filter(self.children.__contains__, child.service.after):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.children[name].ready.wait(), COURTESY_S)
        if not self._asked_to_stop.is_set():
            await child.run()

    async def _announce(self, name: str, say: Callable[[], None]) -> None:
        await self.children[name].ready.wait()
        say()

    async def _stop_all(self) -> None:
        self._asked_to_stop.set()
        for stage in sorted({child.service.stop_stage for child in self.children.values()}, reverse=True):
            group = [child for child in self.children.values() if child.service.stop_stage == stage]
            await asyncio.gather(*(child.stop() for child in group))
        left = processes_of(self._marker)
        if left:
            names = ", ".join(sorted({_name(process.pid) for process in left}))
            self._console.say(f"Ending what is left: {names}.")
            end(left, _SWEEP_GRACE_S if self._requests < 2 else 0.0)
        self._reap()

    def _clear_leftovers(self) -> None:
        left = processes_of(self._marker, other_starts=True)
        if left:
            self._console.say(f"Ending {len(left)} processes that an earlier start left behind.")
            end(left, _SWEEP_GRACE_S)

    def _reap(self) -> None:
        if not Child.starting:
            known = set(Child.known)
            if self._guardian is not None:
                known.add(self._guardian.pid)
            reap_orphans(known)

    async def _start_guardian(self) -> None:
        environment = {name: value for name, value in self._environment.items() if name != MARKER}
        Child.starting += 1
        try:
            self._guardian = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tuneyard.supervisor.guardian", self._marker, str(self._guardian_grace_s)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        finally:
            Child.starting -= 1

    async def _dismiss_guardian(self) -> None:
        guardian = self._guardian
        if guardian is None or guardian.stdin is None:
            return
        with contextlib.suppress(OSError):
            guardian.stdin.write(LAST_WORD)
            guardian.stdin.close()
        try:
            await asyncio.wait_for(guardian.wait(), 5)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(guardian.pid, signal.SIGKILL)


def _name(pid: int) -> str:
    import psutil

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return str(pid)
