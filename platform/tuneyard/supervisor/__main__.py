"""`python -m tuneyard.supervisor`: starts everything, prints where it is, stops it on Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sys

from tuneyard.supervisor.catalogue import first_login_file, instance_environment, services
from tuneyard.supervisor.configuration import (
    Configuration,
    RefusedError,
    lock_home,
    make_folders,
    read_configuration,
    require_port,
)
from tuneyard.supervisor.console import Console
from tuneyard.supervisor.service import Service
from tuneyard.supervisor.supervisor import Supervisor

#: Exit statuses: the start was given up; it was refused before anything was started.
_FAILED, _REFUSED = 1, 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tuneyard.supervisor", description=__doc__)
    parser.add_argument(
        "--only", metavar="NAME,NAME", help="run these services; the others run elsewhere, in a container of their own"
    )
    only = parser.parse_args().only
    try:
        configuration = read_configuration()
        make_folders(configuration)
        # Held until this process ends; taken before anything in the home is touched.
        lock = lock_home(configuration.home, (only or "").replace(",", "-"))
        environment = instance_environment(configuration)
        catalogue = chosen(services(configuration, environment), only)
        for name, port, variable in (
            ("web", configuration.port, "TUNEYARD_PORT"),
            ("serving", configuration.serving_port, "TUNEYARD_SERVING_PORT"),
        ):
            if any(service.name == name for service in catalogue):
                require_port(configuration.host, port, variable)
    except RefusedError as refusal:
        sys.stderr.write(f"Tuneyard did not start.\n{refusal}\n")
        return _REFUSED
    console = Console(configuration.logs_dir)
    identity = hashlib.sha256(str(configuration.home).encode()).hexdigest()[:16]
    supervisor = Supervisor(catalogue, console, identity=identity, environment=environment)
    announce = {
        "web": lambda: console.block(welcome(configuration, environment["MLFLOW_TRACKING_URI"])),
        "mlflow": lambda: console.say("MLflow answers."),
    }
    if hasattr(os, "pidfd_open"):
        # The default watcher of Python 3.11 takes one thread for each child.
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    try:
        well = asyncio.run(supervisor.run(announce=announce))
        console.say("Stopped.")
    finally:
        console.close()
        lock.close()
    return 0 if well else _FAILED


def chosen(catalogue: list[Service], only: str | None) -> list[Service]:
    """The services of `only`, or all. Raises `RefusedError` for a name that is none."""
    if only is None:
        return catalogue
    names = only.split(",")
    if unknown := sorted(set(names) - {service.name for service in catalogue}):
        known = ", ".join(service.name for service in catalogue)
        raise RefusedError(f"No service is called {', '.join(unknown)}. There are: {known}.")
    return [service for service in catalogue if service.name in names]


def welcome(configuration: Configuration, mlflow: str) -> str:
    """Where everything is. The first login is shown here, once, and its file removed."""
    lines = [
        ("Open", configuration.public_url),
        ("Predict", configuration.serving_url),
        ("MLflow", f"{mlflow} (may still be starting)"),
        ("Data", str(configuration.home)),
        ("Stop", "Ctrl-C"),
    ]
    facts = "\n".join(f"    {label:<9}{value}" for label, value in lines)
    login = first_login_file(configuration)
    first = ""
    if login.is_file():
        first = "\n" + "\n".join(f"    {line}" for line in login.read_text().splitlines()) + "\n"
        login.unlink()
    return f"\n  Tuneyard is ready.\n\n{facts}\n{first}"


if __name__ == "__main__":
    sys.exit(main())
