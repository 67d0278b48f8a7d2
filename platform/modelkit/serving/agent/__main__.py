"""`python -m modelkit.serving.agent --home HOME`: serve what `serving/desired.json` of that folder asks for."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import sys
from pathlib import Path

from modelkit.serving.agent.hang import HUNG_S
from modelkit.serving.agent.keeper import PortInUse
from modelkit.serving.agent.supervise import Agent
from modelkit.serving.custody import MAX_CONNECTIONS
from modelkit.serving.listening import raise_descriptors, stop_signal
from modelkit.serving.paths import ServingPaths

#: Descriptors that are kept for runners and files, beside those of the front's connections.
_KEPT_DESCRIPTORS = 256

logger = logging.getLogger("modelkit.serving.agent")


async def _run(paths: ServingPaths, options: argparse.Namespace) -> None:
    agent = Agent(paths, host=options.host, port=options.port, threads=options.threads, hung_s=options.hung_after)
    await agent.run(stop_signal())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m modelkit.serving.agent", description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=os.environ.get("TUNEYARD_HOME"), required="TUNEYARD_HOME" not in os.environ
    )
    parser.add_argument("--host", default=os.environ.get("TUNEYARD_HOST", "127.0.0.1"))
    parser.add_argument(
        "--port", type=int, default=int(os.environ.get("TUNEYARD_SERVING_PORT", "8701")), help="0: any free port"
    )
    parser.add_argument(
        "--threads", type=int, default=min(2, os.cpu_count() or 1), help="batches that one runner computes at once"
    )
    parser.add_argument(
        "--hung-after", type=float, default=HUNG_S, help="seconds without a pass after which it ends itself"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    raise_descriptors(MAX_CONNECTIONS + _KEPT_DESCRIPTORS)
    paths = ServingPaths(options.home.absolute())
    paths.ensure()
    with paths.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.error("Another agent serves %s already.", paths.home)
            return 2
        try:
            asyncio.run(_run(paths, options))
        except PortInUse as error:
            logger.error("%s", error)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
