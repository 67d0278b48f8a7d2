"""The real product under the real supervisor: it starts, refuses a second one, heals, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.conftest import Product
from tests.supervisor.conftest import ROOT, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

START_S = 180


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Product]:
    product = Product(home=tmp_path / "home")
    product.home.mkdir()
    yield product
    for process in _processes(product):
        process.kill()


def test_it_starts_heals_stops_and_starts_again(instance: Product) -> None:
    console = instance.home / "console.log"
    _start(instance)
    wait_for(lambda: "Tuneyard is ready." in console.read_text(), what="the welcome", timeout_s=START_S)
    assert instance.url.replace("127.0.0.1", "localhost") in console.read_text()

    second = _run(instance)
    assert second.returncode == 2
    assert f"Tuneyard already runs on {instance.home}" in second.stderr

    _kill(instance, "granian")
    wait_for(lambda: re.search(r"web (was ended|ended)", console.read_text()), what="word of the death of web")
    wait_for(lambda: _signs_in(instance), what="web after its death", timeout_s=START_S)

    _kill(instance, "redis-server")
    wait_for(lambda: "redis was ended by SIGKILL" in console.read_text(), what="word of the death of redis")
    wait_for(lambda: _pings(instance), what="redis after its death")

    assert instance.stop() == 0
    assert _processes(instance) == []

    # A supervisor that is killed takes everything along too, and the next start is an ordinary one.
    _start(instance)
    assert instance.process is not None
    instance.process.send_signal(signal.SIGKILL)
    instance.process.wait(10)
    wait_for(lambda: _processes(instance) == [], what="the end of every process", timeout_s=90)
    _start(instance)
    assert instance.stop() == 0
    assert _processes(instance) == []


def test_the_first_password_is_shown_once_and_kept_nowhere(instance: Product) -> None:
    _start(instance, TUNEYARD_ADMIN_PASSWORD="")
    console = instance.home / "console.log"
    shown = wait_for(lambda: re.findall(r"Password:\s+(\S+)", console.read_text()), what="the password")
    assert len(shown) == 1
    assert instance.stop() == 0
    kept = [path for path in instance.home.rglob("*") if path.is_file() and path != console]
    assert len(kept) > 5
    assert [path for path in kept if shown[0].encode() in path.read_bytes()] == []
    _start(instance, TUNEYARD_ADMIN_PASSWORD="")
    assert instance.stop() == 0
    assert len(re.findall(r"Password:", console.read_text())) == 1


def _start(instance: Product, **variables: str) -> None:
    with (instance.home / "console.log").open("ab") as log:
        instance.process = subprocess.Popen(
            [sys.executable, "-m", "tuneyard.supervisor"],
            cwd=ROOT,
            env={**instance.environment, **variables},
            stdout=log,
            stderr=log,
        )
    wait_for(lambda: _signs_in(instance), what="the sign-in page", timeout_s=START_S)


def _run(instance: Product) -> subprocess.CompletedProcess[str]:
    """A second start on the same home, with ports of its own."""
    other = Product(home=instance.home)
    return subprocess.run(
        [sys.executable, "-m", "tuneyard.supervisor"],
        cwd=ROOT,
        env=other.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def _signs_in(instance: Product) -> bool:
    assert instance.process is not None
    assert instance.process.poll() is None, (instance.home / "console.log").read_text()[-3000:]
    try:
        return httpx.get(f"{instance.url}/accounts/login/", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _pings(instance: Product) -> bool:
    from tuneyard.settings import homes

    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(homes.run_dir(instance.home) / "redis.sock"))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _processes(instance: Product) -> list[psutil.Process]:
    """Whatever runs on this home, by what it inherited or by its command line."""
    home = str(instance.home)
    found = []
    for process in psutil.process_iter():
        try:
            inherited = process.environ().get("TUNEYARD_HOME") == home
            if (inherited or home in " ".join(process.cmdline())) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _kill(instance: Product, word: str) -> None:
    """SIGKILL to the oldest process on this home whose command line holds the word."""
    found = [process for process in _processes(instance) if word in " ".join(process.cmdline())]
    min(found, key=lambda process: process.create_time()).kill()
