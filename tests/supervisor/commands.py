"""The supervisor's real commands, for tests that compare them with code and with the compose file."""

from __future__ import annotations

from pathlib import Path

from tuneyard.supervisor.catalogue import _workers
from tuneyard.supervisor.configuration import Configuration, read_configuration


def configuration() -> Configuration:
    return read_configuration()


def worker_queues(_: Path | None = None) -> set[str]:
    """The queues that some worker serves."""
    queues: set[str] = set()
    for service in _workers(configuration()):
        if "--queues" in service.command:
            queues.update(service.command[service.command.index("--queues") + 1].split(","))
    return queues
