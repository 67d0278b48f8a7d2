"""Uploading over the API, and a worker's step taken in the test's own process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.personas import Person, Team

Content = bytes | str | Path


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Any, ...]]]:
    """Messages of this app to workers, in place of a broker; making a token sends another app's."""
    messages: list[tuple[str, tuple[Any, ...]]] = []

    def keep(name: str, *args: Any) -> None:
        if name.startswith("datasets."):
            messages.append((name, args))

    monkeypatch.setattr("apps.jobs.queue.send", keep)
    return messages


@dataclass
class Uploads:
    """The API of datasets as one person."""

    person: Person
    sent: list[tuple[str, tuple[Any, ...]]]

    def post(self, name: str, files: Mapping[str, Any], **fields: str) -> Any:
        """POST a version; file values are (name, content) or lists of them."""
        data: dict[str, Any] = dict(fields)
        for field, value in files.items():
            pairs = value if isinstance(value, list) else [value]
            data[field] = [SimpleUploadedFile(file_name, _bytes(content)) for file_name, content in pairs]
        client = Client(raise_request_exception=False)
        return client.post(
            f"/api/v1/datasets/{name}/versions", data, headers={"Authorization": f"Bearer {self.person.token}"}
        )

    def work(self) -> None:
        """Do what the messages ask."""
        from workers.tasks.datasets import sweep, validate

        while self.sent:
            name, args = self.sent.pop(0)
            {"datasets.validate": validate, "datasets.sweep": sweep}[name](*args)

    def make(self, name: str, files: Mapping[str, Any], **fields: str) -> dict[str, Any]:
        """Create the dataset if need be, upload, check, and answer the version as the API shows it."""
        self.person.api("POST", "/datasets", {"name": name, "task": "text_classification"})
        response = self.post(name, files, **fields)
        assert response.status_code in (200, 201), response.content
        number = response.json()["version"]
        self.work()
        return self.version(name, number)

    def version(self, name: str, number: int) -> dict[str, Any]:
        response = self.person.api("GET", f"/datasets/{name}/versions/{number}")
        assert response.status_code == 200, response.content
        answer: dict[str, Any] = response.json()
        return answer

    def check(self, name: str, number: int, code: str) -> dict[str, Any]:
        items = self.person.api("GET", f"/datasets/{name}/versions/{number}/checks").json()["items"]
        found: dict[str, Any] = next(item for item in items if item["code"] == code)
        return found

    def fix(self, name: str, number: int, *fixes: str) -> dict[str, Any]:
        response = self.person.api("POST", f"/datasets/{name}/versions", {"from": number, "fixes": list(fixes)})
        assert response.status_code == 201, response.content
        self.work()
        return self.version(name, response.json()["version"])


def _bytes(content: Content) -> bytes:
    if isinstance(content, Path):
        return content.read_bytes()
    return content.encode() if isinstance(content, str) else content


@pytest.fixture
def uploads(team: Team, sent: list[tuple[str, tuple[Any, ...]]]) -> Uploads:
    return Uploads(team.developer, sent)


@pytest.fixture(autouse=True)
def _messages_at_once(monkeypatch: pytest.MonkeyPatch, sent: list[tuple[str, tuple[Any, ...]]]) -> None:
    """Tests run inside one transaction that never commits: what waits for the commit is done at once."""
    monkeypatch.setattr("django.db.transaction.on_commit", lambda function, **kwargs: function())


@pytest.fixture
def tickets() -> Callable[[int], str]:
    """A small valid table with two classes."""

    def make(rows: int = 40) -> str:
        lines = ["text,label"]
        for number in range(rows):
            lines.append(f"My card number {number} has not arrived yet,card_arrival")
            lines.append(f"Please give me back the {number} euros,refund")
        return "\n".join(lines) + "\n"

    return make
