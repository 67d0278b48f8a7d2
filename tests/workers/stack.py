"""The processes that run jobs, each started for real and each killable: Redis, MLflow, web, launcher, workers, beat."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from modelkit.jobfolder import JobFolder
from tests.modelkit.launching import ROOT, child_environment, wait_for
from tuneyard.supervisor.servers import find_redis, write_redis_conf

LEASE_S = 3
TOKEN = "ty_" + "t" * 43
OTHER_TOKEN = "ty_" + "o" * 43
FINAL = {"succeeded", "failed", "errored", "cancelled"}

TABLES = """
from django.core.management import call_command
call_command("migrate", verbosity=0, interactive=False)
call_command("createcachetable", verbosity=0)
"""

#: Rows that the jobs need, made in a process of the product since the database is a file of its own.
SEED = """
import hashlib, json, duckdb
from apps.accounts.models import *
from apps.datasets.models import *
from apps.registry.models import BaseModel
from apps.core import storage
for name, token in (("default", TOKEN), ("other", OTHER_TOKEN)):
    user = User.objects.create_user(name, password="x")
    space = Workspace.objects.create(name=name, title=name)
    Membership.objects.create(user=user, workspace=space, role="owner")
    ApiToken.objects.create(workspace=space, user=user, name="t", role="owner", prefix="ty_",
                            sha256=hashlib.sha256(token.encode()).hexdigest())
    dataset = Dataset.objects.create(workspace=space, name="rows", task="toy_counts")
    prefix = f"datasets/{space.public_id}/rows/1"
    folder = storage.local_dir(prefix); folder.mkdir(parents=True)
    duckdb.sql("SELECT i::varchar AS row_id, i AS position, 'a.csv' AS source, "
               "CASE WHEN i < 8 THEN 'train' ELSE 'test' END AS split, 'text ' || i AS text, 'yes' AS label "
               "FROM range(10) t(i)").write_parquet(str(folder / "rows.parquet"))
    (folder / "dataset.json").write_text("{}")
    DatasetVersion.objects.create(dataset=dataset, number=1, status="ready", prefix=prefix, digest="d" * 64, rows=10,
                                  splits={"train": 8, "validation": 0, "test": 2}, labels=["yes"])
    DatasetVersion.objects.create(dataset=dataset, number=2, status="validating", prefix=prefix)
BaseModel.objects.create(name="none", title="None", source="bundled", path=str(folder), revision="0")
print(json.dumps("ok"))
"""


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """Everything between a POST and a published version, on a home of its own."""

    def __init__(self, *, database_url: str = "") -> None:
        """On the home's own SQLite, or on the database that `database_url` names."""
        self.database_url = database_url
        # A short path: Unix sockets hold 107 bytes.
        self.home = Path(tempfile.mkdtemp(prefix="ty-stack-"))
        self.port, self.mlflow_port = free_port(), free_port()
        self.redis_socket = self.home / "run" / "redis.sock"
        for folder in ("run", "redis", "mlflow"):
            (self.home / folder).mkdir()
        self.environment = child_environment(
            TUNEYARD_HOME=str(self.home),
            TUNEYARD_PORT=str(self.port),
            TUNEYARD_JOB_LEASE_S=str(LEASE_S),
            DATABASE_URL=database_url,
            DJANGO_SETTINGS_MODULE="tuneyard.settings",
            REDIS_URL=f"unix://{self.redis_socket}",
            MLFLOW_TRACKING_URI=f"http://127.0.0.1:{self.mlflow_port}",
            MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}/api/v1",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
            trust_env=False,
        )

    # --- processes --------------------------------------------------------------------------------------------------

    def commands(self) -> dict[str, list[str]]:
        python, mlflow = [sys.executable, "-m"], self.home / "mlflow"
        celery = [*python, "celery", "-A", "workers.app"]
        quiet = ["--without-mingle", "--without-gossip", "--loglevel", "INFO"]
        beat = ["beat", "--schedule", str(self.home / "beat"), "--pidfile", ""]
        web = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1", "--blocking-threads", "8", "--no-ws"]
        store = ["--backend-store-uri", f"sqlite:///{mlflow / 'db.sqlite3'}"]
        artifacts = ["--artifacts-destination", (mlflow / "artifacts").as_uri(), "--serve-artifacts"]
        return {
            "redis": [str(find_redis()), str(write_redis_conf(self.home, self.redis_socket))],
            "mlflow": [
                *(
                    *python,
                    "mlflow",
                    "server",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(self.mlflow_port),
                    "--workers",
                    "1",
                ),
                *store,
                *artifacts,
            ],
            "launcher": [
                *(*python, "modelkit.launcher", "--socket", str(self.home / "run" / "launcher.sock"), "--preload", ""),
            ],
            "web": [*python, "granian", "--interface", "wsgi", "tuneyard.wsgi:application", *web],
            "cpu": [*celery, "worker", "--queues", "cpu", "--hostname", "cpu@%h", "--concurrency", "1", *quiet],
            "gpu": [*celery, "worker", "--queues", "gpu", "--hostname", "gpu@%h", "--concurrency", "1", *quiet],
            "beat": [*celery, *beat],
        }

    def start(self, *names: str) -> None:
        for name in names:
            log = (self.home / f"{name}.log").open("ab")
            self.processes[name] = subprocess.Popen(
                self.commands()[name], cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        for name in names:
            self.wait_ready(name)

    def wait_ready(self, name: str) -> None:
        checks = {
            "redis": lambda: self.redis_socket.exists(),
            "mlflow": lambda: self._answers(f"http://127.0.0.1:{self.mlflow_port}/health"),
            "launcher": lambda: (self.home / "run" / "launcher.sock").exists(),
            "web": lambda: self._answers(f"http://127.0.0.1:{self.port}/accounts/login/"),
            "cpu": lambda: "ready." in (self.home / "cpu.log").read_text(),
            "gpu": lambda: "ready." in (self.home / "gpu.log").read_text(),
        }
        if name in checks:
            try:
                wait_for(checks[name], timeout_s=240, what=name)
            except AssertionError:
                raise AssertionError(f"{name} did not start:\n{self.log(name)}") from None

    def _answers(self, url: str) -> bool:
        try:
            return httpx.get(url, timeout=2, trust_env=False).status_code < 500
        except httpx.HTTPError:
            return False

    def kill(self, name: str) -> None:
        """SIGKILL to a process and all that it started in its session, as a crash of the machine's part would."""
        process = self.processes.pop(name)
        group = os.getpgid(process.pid)
        os.killpg(group, signal.SIGKILL)
        process.wait()

    def terminate(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        process.wait(timeout=60)

    def log(self, name: str) -> str:
        path = self.home / f"{name}.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        for file in self.home.glob("jobs/*/child.json"):
            child = JobFolder(file.parent).child()
            if child is not None and child.alive:
                psutil.Process(child.pid).kill()
        shutil.rmtree(self.home, ignore_errors=True)

    # --- rows -------------------------------------------------------------------------------------------------------

    def django(self, code: str) -> Any:
        """Run code inside the product and read what it prints as JSON."""
        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "--no-imports", "-c", code],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])

    def prepare(self) -> None:
        """The tables and the rows, by one process: each takes longer to start than to do its work."""
        self.django(f"TOKEN, OTHER_TOKEN = {TOKEN!r}, {OTHER_TOKEN!r}\n{TABLES}{SEED}")

    # --- jobs -------------------------------------------------------------------------------------------------------

    def body(self, name: str = "toy", **params: Any) -> dict[str, Any]:
        return {
            "kind": "train",
            "task": "toy_counts",
            "dataset": "rows@1",
            "base_model": "none",
            "model_name": name,
            "params": params,
        }

    def post(self, path: str, body: Any = None, *, key: str = "") -> dict[str, Any]:
        response = self.client.post(path, json=body, headers={"Idempotency-Key": key} if key else {})
        assert response.status_code < 300, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def get(self, path: str) -> dict[str, Any]:
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def job(self, name: str = "toy", **params: Any) -> str:
        """Start a toy job; returns its id."""
        return str(self.post("/jobs", self.body(name, **params))["id"])

    def folder(self, job_id: str) -> JobFolder:
        return JobFolder(self.home / "jobs" / job_id)

    def trace(self, job_id: str) -> list[tuple[int, int]]:
        """Steps and the process that took each."""
        path = self.folder(job_id).path / "trace.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]

    def wait_step(self, job_id: str, step: int) -> int:
        """Wait until a step was taken; returns the process that takes them."""
        trace = wait_for(
            lambda: (t := self.trace(job_id)) and t[-1][0] >= step and t, what=f"step {step}", timeout_s=60
        )
        return int(trace[-1][1])

    def ended(self, job_id: str, *, timeout_s: float = 90) -> dict[str, Any]:
        """Wait for the end of a job."""
        try:
            state: dict[str, Any] = wait_for(
                lambda: (s := self.get(f"/jobs/{job_id}"))["status"] in FINAL and s, timeout_s=timeout_s, what=job_id
            )
        except AssertionError:
            state = self.get(f"/jobs/{job_id}")
            raise AssertionError(f"{state}\n--- gpu\n{self.log('gpu')}\n--- launcher\n{self.log('launcher')}") from None
        return state

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database itself, which is quicker than a new process of the product."""
        if self.database_url:
            with psycopg.connect(self.database_url, autocommit=True) as connection:
                return connection.execute(query.replace("?", "%s"), values).fetchall()  # type: ignore[arg-type]
        with closing(
            sqlite3.connect(f"file:{self.home / 'tuneyard.sqlite3'}?mode=ro", uri=True, timeout=20)
        ) as database:
            return database.execute(query, values).fetchall()

    def transitions(self, job_id: str) -> list[tuple[Any, ...]]:
        """The states a job went through, with the reasons."""
        return self.rows(
            "SELECT t.to_status, t.reason FROM jobs_jobtransition t JOIN jobs_job j ON j.id = t.job_id "
            "WHERE j.public_id = ? ORDER BY t.id",
            job_id,
        )
