"""How fast the web starts by itself, what it holds, and what it grows by while it receives a large file.

    python -m benchmarks.web [--starts 5] [--megabytes 1024]

The start is measured from the fork to the first answered sign-in page, on a prepared home with nothing else running;
the first start, which fills Python's and the disk's caches, is left out. The last line is one JSON object: `start_s`
(the median), `start_worst_s`, `start_cpu_s` (what the process itself computed), `idle_mb`, `upload_growth_mb`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from benchmarks import upload


def start_once(environment: dict[str, str]) -> tuple[float, float, float]:
    """Seconds to the first sign-in page, seconds of CPU, and megabytes held a second later."""
    port = upload.free_port()
    began = time.monotonic()
    server = subprocess.Popen(upload.web_command(port), env=environment, cwd=upload.ROOT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http:
            while True:
                try:
                    http.get("/accounts/login/").raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.01)
        took = time.monotonic() - began
        process = psutil.Process(server.pid)
        whole = [process, *process.children(recursive=True)]
        cpu = sum(sum(one.cpu_times()[:2]) for one in whole)
        time.sleep(1)
        return took, cpu, upload.resident_mb(process)
    finally:
        server.terminate()
        server.wait(20)


def run(starts: int, megabytes: int) -> dict[str, float]:
    """Measure `starts` starts and one upload."""
    with tempfile.TemporaryDirectory(prefix="ty-web-") as folder:
        environment = upload.environment_of(Path(folder) / "home")
        upload.run_python(upload.PREPARE, environment)
        measured = [start_once(environment) for _ in range(starts + 1)][1:]
    seconds = [took for took, _cpu, _held in measured]
    received = upload.run(megabytes, check=False)
    return {
        "start_s": round(statistics.median(seconds), 2),
        "start_worst_s": round(max(seconds), 2),
        "start_cpu_s": round(statistics.median(cpu for _took, cpu, _held in measured), 2),
        "idle_mb": round(statistics.median(held for _took, _cpu, held in measured), 1),
        "upload_growth_mb": received["web_growth_mb"],
        "upload_mb_per_s": received["upload_mb_per_s"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1024)
    options = parser.parse_args()
    print(json.dumps(run(options.starts, options.megabytes)))


if __name__ == "__main__":
    main()
