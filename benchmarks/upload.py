"""What the web process costs while it receives a large file, and what checking that file costs.

    python -m benchmarks.upload [--megabytes 1024] [--upload-only]

Starts the web server alone, on a free port and in a folder of its own, sends a CSV of that size over the API while
reading the server's resident memory, then checks the version in a process of its own. The last line is one JSON object:
`web_before_mb`, `web_growth_mb`, `upload_s`, `upload_mb_per_s`, `check_s`, `check_cpu_s`, `check_peak_mb`, `rows`,
`rows_per_s`. On a machine that does other things too, `check_cpu_s` says what the check alone would take.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
WORDS = [
    "card",
    "account",
    "transfer",
    "refund",
    "please",
    "where",
    "money",
    "waiting",
    "pin",
    "code",
    "identity",
    "fee",
    "rate",
    "shop",
    "week",
    "app",
]


def write_table(path: Path, megabytes: int) -> int:
    """Distinct rows with ten classes; returns how many."""
    randomness = random.Random(1)  # noqa: S311
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        while file.tell() < megabytes << 20:
            lines = []
            for _ in range(5000):
                words = " ".join(randomness.choices(WORDS, k=14))
                lines.append(f'"{words}, number {rows}",class_{rows % 10}\n')
                rows += 1
            file.write("".join(lines))
    return rows


def resident_mb(process: psutil.Process) -> float:
    """Memory of a process and its children."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / (1 << 20)


def multipart(path: Path, boundary: str) -> Iterator[bytes]:
    """The body, streamed, so that the client needs no memory either."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n'
    yield (head + "Content-Type: text/csv\r\n\r\n").encode()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block
    yield f"\r\n--{boundary}--\r\n".encode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment_of(home: Path) -> dict[str, str]:
    """What a process of the product on `home` is started with."""
    return {
        **os.environ,
        "TUNEYARD_HOME": str(home),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}",
        "DJANGO_SETTINGS_MODULE": "tuneyard.settings",
    }


def web_command(port: int) -> list[str]:
    """The web server as the supervisor starts it."""
    granian = [sys.executable, "-m", "granian", "--interface", "wsgi", "tuneyard.wsgi:application"]
    granian += ["--host", "127.0.0.1", "--port", str(port), "--http", "1", "--no-ws"]
    return [*granian, "--workers", "1", "--blocking-threads", "16", "--log-level", "error"]


PREPARE = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0); call_command("createcachetable", verbosity=0)
call_command("collectstatic", verbosity=0, interactive=False)
from apps.accounts.auth import Identity
from apps.accounts.models import Membership, Role, User, Workspace
from apps.accounts.services import token_create
user = User.objects.create_user("bench"); workspace = Workspace.objects.create(name="bench", title="Bench")
Membership.objects.create(user=user, workspace=workspace, role=Role.OWNER)
print(token_create(by=Identity(user, workspace, Role.OWNER), name="bench", role=Role.OWNER)[1])
"""

_CHECK = """
import json, resource, time, django; django.setup()
from apps.datasets.models import DatasetVersion
from workers.tasks.datasets import validate
began = time.monotonic(); version = DatasetVersion.objects.get(); validate(version.pk); version.refresh_from_db()
used = resource.getrusage(resource.RUSAGE_SELF); peak = used.ru_maxrss / 1024
print(json.dumps({"status": version.status, "error": version.error, "rows": version.rows,
                  "check_s": time.monotonic() - began, "check_cpu_s": used.ru_utime + used.ru_stime,
                  "check_peak_mb": peak}))
"""


def run(megabytes: int, *, check: bool = True) -> dict[str, float]:
    """Measure once."""
    with tempfile.TemporaryDirectory(prefix="ty-up-") as folder:
        home = Path(folder) / "home"
        environment = environment_of(home)
        table = Path(folder) / "large.csv"
        rows = write_table(table, megabytes)
        token = run_python(PREPARE, environment).strip().splitlines()[-1]
        port = free_port()
        server = subprocess.Popen(web_command(port), env=environment, cwd=ROOT)
        try:
            web = psutil.Process(server.pid)
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}/api/v1", headers=headers, timeout=900, trust_env=False
            ) as http:
                _wait(http)
                http.post("/datasets", json={"name": "large", "task": "text_classification"}).raise_for_status()
                before = resident_mb(web)
                peak, stop = [before], threading.Event()

                def watch() -> None:
                    while not stop.wait(0.05):
                        peak.append(resident_mb(web))

                watcher = threading.Thread(target=watch)
                watcher.start()
                began = time.monotonic()
                length = table.stat().st_size + sum(map(len, multipart(Path(os.devnull), "tuneyard-bench")))
                length += len(table.name) - len(Path(os.devnull).name)
                kind = {
                    "Content-Type": "multipart/form-data; boundary=tuneyard-bench",
                    "Content-Length": str(length),
                }
                answer = http.post("/datasets/large/versions", content=multipart(table, "tuneyard-bench"), headers=kind)
                upload_s = time.monotonic() - began
                stop.set()
                watcher.join()
                answer.raise_for_status()
        finally:
            server.terminate()
            server.wait(20)
        measured = {
            "megabytes": megabytes,
            "rows": rows,
            "web_before_mb": round(before, 1),
            "web_growth_mb": round(max(peak) - before, 1),
            "upload_s": round(upload_s, 2),
            "upload_mb_per_s": round(megabytes / upload_s, 1),
            "client_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        }
        if not check:
            return measured
        checked = json.loads(run_python(_CHECK, environment).strip().splitlines()[-1])
        assert checked["status"] == "ready", checked["error"]
        assert checked["rows"] == rows
    return {
        **measured,
        "check_s": round(checked["check_s"], 1),
        "check_cpu_s": round(checked["check_cpu_s"], 1),
        "rows_per_s": round(rows / checked["check_s"]),
        "check_peak_mb": round(checked["check_peak_mb"], 1),
    }


def run_python(code: str, environment: dict[str, str]) -> str:
    """What the code prints, run in a process of the product."""
    ended = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(ended.stderr)
    return ended.stdout


def _wait(http: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if http.get("/datasets").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    sys.exit("the web server did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--upload-only", action="store_true", help="leave out the check, which takes minutes")
    options = parser.parse_args()
    print(json.dumps(run(options.megabytes, check=not options.upload_only)))


if __name__ == "__main__":
    main()
