"""An S3 server of its own on loopback: `moto`, which speaks the protocol over HTTP and keeps objects in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import free_port
from tests.modelkit.launching import wait_for

BUCKET = "tuneyard-test"


@dataclass
class S3:
    """A running server with one bucket."""

    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """What an installation is given to use it: the variables that every AWS tool reads."""
        return {
            "STORAGE_URL": f"s3://{BUCKET}/some/prefix",
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self) -> Any:
        boto3 = pytest.importorskip("boto3")
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.address, **keys)

    def objects(self) -> list[str]:
        """The key of every object in the bucket."""
        return sorted(item["Key"] for item in self.client().list_objects_v2(Bucket=BUCKET).get("Contents", []))

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._answers, timeout_s=60, what="moto's server")

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.address}/moto-api/", timeout=2, trust_env=False).status_code < 500
        except httpx.HTTPError:
            return False


@contextmanager
def s3_server() -> Iterator[S3]:
    """A running server with an empty bucket; skips the test where `moto` is not installed."""
    pytest.importorskip("moto.server", reason="moto is not installed")
    server = S3(free_port())
    server.start()
    try:
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.stop()
