"""What this host offers to train on: its GPUs, or its processor as one slot. Imports no torch."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from functools import cache
from typing import Any

import psutil


def host_name() -> str:
    """The name by which this host's children and devices are known; containers of one host may share it."""
    return os.environ.get("TUNEYARD_HOST_NAME", "") or socket.gethostname()


@cache
def found() -> list[dict[str, Any]]:
    """Devices as `{"name", "title", "memory_bytes"}`; `CUDA_VISIBLE_DEVICES` narrows the GPUs as everywhere."""
    return _gpus() or [
        {
            "name": "cpu:0",
            "title": f"{platform.machine()}, {os.cpu_count()} cores",
            "memory_bytes": psutil.virtual_memory().total,
        }
    ]


def _gpus() -> list[dict[str, Any]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = ["--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run([program, *query], capture_output=True, text=True, timeout=20, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    allowed = None if visible is None else [part.strip() for part in visible.split(",")]
    devices = []
    for line in answer.splitlines():
        index, title, mebibytes = (part.strip() for part in line.split(","))
        if allowed is None or index in allowed:
            devices.append({"name": f"cuda:{index}", "title": title, "memory_bytes": int(mebibytes) << 20})
    return devices


def launch_settings(device: str) -> dict[str, Any]:
    """How a child on `device` is started: what it sees, its threads, and how far below serving it runs."""
    cores = len(os.sched_getaffinity(0))
    kind, _, index = device.partition(":")
    if kind == "cuda":
        share = max(1, cores // max(1, len(found())))
        return {"device": "cuda", "threads": share, "nice": 5, "env": {"CUDA_VISIBLE_DEVICES": index}}
    return {"device": "cpu", "threads": cores, "nice": 10, "env": {"CUDA_VISIBLE_DEVICES": ""}}
