"""A real Prometheus with the configuration of `deploy/`, started by the test that needs one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import free_port
from tests.modelkit.serving.toys import wait_until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP API, on a loopback port."""

    url: str

    def get(self, path: str, **parameters: Any) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=20, trust_env=False)
        assert answer.status_code != 400, f"{parameters}: {answer.text}"
        answer.raise_for_status()
        return answer.json()["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series that the expression gives now."""
        found = self.get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"}


def tool(name: str) -> str:
    """The path of a program of Prometheus; skips the test where the machine has none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine; Debian's package is prometheus")
    return found


def settled(folder: Path, *, target: str, token: str, hurry: bool = True) -> Path:
    """The files of `deploy/` as they would lie in /etc/prometheus, for another target.

    With `hurry` it looks each second, and an alert waits for nothing: what is tried is what it sees, not its patience.
    """
    folder.mkdir(parents=True)
    (folder / "token").write_text(token)
    for name in ("prometheus.yml", "rules.yml"):
        text = (DEPLOY / name).read_text().replace("/etc/prometheus/", f"{folder}/").replace("serving:8701", target)
        if hurry:
            text = re.sub(r"(_interval): 15s", r"\1: 1s", re.sub(r"^ +for: \w+\n", "", text, flags=re.M))
        (folder / name).write_text(text)
    return folder / "prometheus.yml"


@contextmanager
def prometheus_server(config: Path) -> Iterator[Prometheus]:
    """A running server that has scraped its target."""
    listen = f"127.0.0.1:{free_port()}"
    log = (config.parent / "log").open("wb")
    process = subprocess.Popen(
        [
            tool("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={config.parent / 'tsdb'}",
            f"--web.listen-address={listen}",
        ],
        stdout=log,
        stderr=log,
    )
    try:
        server = Prometheus(f"http://{listen}")

        def scraped() -> bool:
            assert process.poll() is None, (config.parent / "log").read_text()
            try:
                return any(value == 1 for _, value in server.query("up"))
            except httpx.HTTPError:  # it answers 503 until it has read its storage
                return False

        wait_until(scraped, timeout_s=60, what="the first scrape")
        yield server
    finally:
        process.terminate()
        process.wait(30)
        log.close()
