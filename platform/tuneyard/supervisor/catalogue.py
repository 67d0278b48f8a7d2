"""The processes of an instance: their commands, what each needs first, how long each may take to stop."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tuneyard.supervisor.configuration import Configuration, kept_port
from tuneyard.supervisor.servers import device_slots, find_redis, write_redis_conf
from tuneyard.supervisor.service import Service, http_answers, socket_answers

#: Threads that answer requests. Each open event stream holds one, so there are more than cores.
WEB_THREADS = 32
_CPU_PROCESSES = 2
#: What trainings may take at a stop to write their last checkpoint.
CHECKPOINT_S = 20
_LAUNCHER_STOP_S = CHECKPOINT_S + 10.0

# Stages of the stop, the highest first. Workers and launcher go together: the launcher's interruption is what ends the
# task by which a worker follows a training.
_WORK, _FACE, _STORE = 3, 2, 1


def instance_environment(configuration: Configuration) -> dict[str, str]:
    """What every process of the instance inherits: the user's environment and where the instance's parts are."""
    root = configuration.root
    inherited = os.environ.get("PYTHONPATH")
    # So that it works in a bare checkout too, where nothing is installed.
    path = os.pathsep.join([str(root), str(root / "platform"), *([inherited] if inherited else [])])
    host = f"[{configuration.loopback}]" if ":" in configuration.loopback else configuration.loopback
    mlflow = configuration.mlflow_uri or f"http://127.0.0.1:{kept_port(configuration.home, 'mlflow')}"
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "tuneyard.settings",
        "TUNEYARD_HOME": str(configuration.home),
        "REDIS_URL": configuration.redis_url or f"unix://{redis_socket(configuration)}",
        "MLFLOW_TRACKING_URI": mlflow,
        "TUNEYARD_CONTROL_URL": os.environ.get("TUNEYARD_CONTROL_URL", f"http://{host}:{configuration.port}"),
        # Nothing phones home.
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def redis_socket(configuration: Configuration) -> Path:
    return configuration.run_dir / "redis.sock"


def first_login_file(configuration: Configuration) -> Path:
    """Where the preparation leaves the generated password for the one time that it is shown."""
    return configuration.run_dir / "first-login"


def services(configuration: Configuration, environment: Mapping[str, str]) -> list[Service]:
    """Raises `RefusedError` when a server is to be run here and there is none."""
    found = []
    if configuration.redis_url is None:
        found.append(_redis(configuration))
    found.append(
        Service(
            name="prepare",
            command=_python("tuneyard.supervisor.prepare", "--login-file", str(first_login_file(configuration))),
            one_shot=True,
            stop_stage=_FACE,
            # A migration under way is better finished.
            stop_s=30,
        )
    )
    found.append(_web(configuration))
    found.append(_launcher(configuration))
    found.append(_agent(configuration))
    found += _workers(configuration)
    if configuration.mlflow_uri is None:
        found.append(_mlflow(configuration, environment))
    return found


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _redis(configuration: Configuration) -> Service:
    socket = redis_socket(configuration)
    return Service(
        name="redis",
        command=(str(find_redis()), str(write_redis_conf(configuration.home, socket))),
        ready=socket_answers(socket, b"PING\r\n", b"+PONG"),
        stop_stage=_STORE,
    )


def _web(configuration: Configuration) -> Service:
    return Service(
        name="web",
        # One process: SQLite has one writer, and the threads wait for it, not for each other.
        command=(
            *_python("granian", "--interface", "wsgi", "tuneyard.wsgi:application"),
            *("--host", configuration.host, "--port", str(configuration.port), "--http", "1", "--no-ws"),
            *("--workers", "1", "--blocking-threads", str(WEB_THREADS)),
            *("--workers-kill-timeout", "8", "--log-level", "error"),
        ),
        needs=("prepare",),
        ready=http_answers(configuration.loopback, configuration.port, "/accounts/login/"),
        stop_stage=_FACE,
    )


def _launcher(configuration: Configuration) -> Service:
    return Service(
        name="launcher",
        command=_python(
            "modelkit.launcher",
            *("--socket", str(configuration.run_dir / "launcher.sock")),
            *("--jobs", str(configuration.home / "jobs"), "--stop-timeout", str(CHECKPOINT_S)),
        ),
        needs=("prepare",),
        after=("web",),
        stop_stage=_WORK,
        stop_s=_LAUNCHER_STOP_S,
        # Trainings outlive the launcher's own death, to be adopted.
        owns_group=False,
    )


def _agent(configuration: Configuration) -> Service:
    return Service(
        name="serving",
        command=_python(
            "modelkit.serving.agent",
            *("--home", str(configuration.home)),
            *("--host", configuration.host, "--port", str(configuration.serving_port)),
        ),
        stop_stage=_FACE,
        stop_s=20,
        # Front and runners keep answering while the agent is away.
        owns_group=False,
    )


def _workers(configuration: Configuration) -> list[Service]:
    def celery(name: str, *arguments: str, nice: int = 0) -> Service:
        return Service(
            name=name,
            command=_python("celery", "--quiet", "-A", "workers.app", *arguments),
            needs=("redis", "prepare"),
            after=("web",),
            stop_stage=_WORK,
            stop_s=_LAUNCHER_STOP_S + 5,
            nice=nice,
        )

    def worker(queue: str, processes: int) -> Service:
        return celery(
            f"work-{queue}",
            *("worker", "--queues", queue, "--hostname", f"{queue}@%h", "--concurrency", str(processes)),
            *("--without-mingle", "--without-gossip", "--loglevel", "INFO"),
        )

    return [
        worker("cpu", _CPU_PROCESSES),
        worker("gpu", device_slots()),
        worker("serve", 1),
        # No pid file: one that a killed beat left behind would keep the next from starting.
        celery("beat", "beat", "--schedule", str(configuration.run_dir / "beat-schedule"), "--pidfile", ""),
    ]


def _mlflow(configuration: Configuration, environment: Mapping[str, str]) -> Service:
    port = int(environment["MLFLOW_TRACKING_URI"].rpartition(":")[2])
    folder = configuration.home / "mlflow"
    return Service(
        name="mlflow",
        command=_python("tuneyard.supervisor.mlflow_server", "--folder", str(folder), "--port", str(port)),
        # Without this it starts ten processes and takes 1.6 GB.
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"},
        after=("web",),
        ready=http_answers("127.0.0.1", port, "/health"),
        stop_stage=_STORE,
    )
