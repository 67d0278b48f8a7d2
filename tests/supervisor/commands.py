"""The supervisor's real commands, for tests that compare them with the code and with the compose file."""

from __future__ import annotations

from dataclasses import replace

from tuneyard.supervisor.catalogue import instance_environment, services
from tuneyard.supervisor.configuration import make_folders, read_configuration
from tuneyard.supervisor.service import Service


def catalogue() -> dict[str, Service]:
    """Every service by name, as on a machine where Redis and MLflow are run by the supervisor."""
    configuration = replace(read_configuration(), redis_url=None, mlflow_uri=None)
    make_folders(configuration)
    return {service.name: service for service in services(configuration, instance_environment(configuration))}


def worker_queues() -> set[str]:
    """The queues that some worker serves."""
    commands = [service.command for service in catalogue().values() if "--queues" in service.command]
    return {queue for command in commands for queue in command[command.index("--queues") + 1].split(",")}
