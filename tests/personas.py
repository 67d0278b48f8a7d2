"""The people of the tests: a team with every role, and an outsider who owns a workspace of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True)
class Person:
    """A user as seen from the tests: with an identity for services, a token for the API and a browser for pages."""

    identity: Any
    token: str

    @property
    def user(self) -> Any:
        return self.identity.user

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call `/api/v1` + path with the token; a body goes as JSON."""
        return call(method, path, body, Authorization=f"Bearer {self.token}", **headers)

    def browser(self, **kwargs: Any) -> Any:
        """A test client with a session of this person's."""
        from django.test import Client

        client = Client(**kwargs)
        client.force_login(self.user, backend="allauth.account.auth_backends.AuthenticationBackend")
        return client


@dataclass(frozen=True)
class Team:
    workspace: Any
    owner: Person
    maintainer: Person
    developer: Person
    viewer: Person
    outsider: Person


def call(method: str, path: str, body: Any = None, **headers: str) -> Any:
    """Call `/api/v1` + path; header names are given with underscores."""
    from django.test import Client

    content = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    client = Client(raise_request_exception=False)
    return client.generic(method, f"/api/v1{path}", content, content_type="application/json", headers=named)


def person_make(username: str, workspace: Any, role: str) -> Person:
    """A member with a token of the full role."""
    from apps.accounts.auth import Identity
    from apps.accounts.models import Membership, Role, User
    from apps.accounts.services import token_create

    user = User.objects.create_user(username, f"{username}@example.org", f"{username}-Passw0rd!")
    Membership.objects.create(workspace=workspace, user=user, role=role)
    identity = Identity(user, workspace, Role(role))
    _row, token = token_create(by=identity, name="tests", role=Role(role))
    return Person(identity, token)


def team_make() -> Team:
    """The workspace `bank` with one person of each role, and `rival` with its owner."""
    from apps.accounts.models import Workspace

    bank = Workspace.objects.create(name="bank", title="Retail bank")
    rival = Workspace.objects.create(name="rival", title="Rival")
    people = {role: person_make(role, bank, role) for role in ("owner", "maintainer", "developer", "viewer")}
    return Team(workspace=bank, outsider=person_make("outsider", rival, "owner"), **people)
