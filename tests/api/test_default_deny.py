"""Nobody gets in without a key, nobody sees another workspace, and a viewer changes nothing: over every address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from apps.accounts.models import Role
from tests.api.world import MARK, World, body_of, query_of, world_make
from tests.personas import Person, Team
from tuneyard.api import api

PUBLIC_API = {("GET", "/health")}
#: Writes that any member may make: of one's own tokens and membership, and what whoever may predict says of an answer.
OPEN_WRITES = {
    ("POST", "/tokens"),
    ("DELETE", "/tokens/{token_id}"),
    ("DELETE", "/members/{username}"),
    ("POST", "/feedback"),
}
PUBLIC_PAGES = {
    "account_login",
    "account_logout",  # answers a redirect to who is not signed in
    "account_inactive",
    "account_signup",  # answers that it is closed
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "set_language",
}

#: Pages by which any member changes what is their own.
OPEN_PAGES = {"member_remove", "token_revoke", "account_logout", "profile_email"}

Operation = tuple[str, str, Any]


def operations() -> list[Operation]:
    """Method, path and ninja's operation of every route."""
    found = []
    for bound in api._get_bound_routers():
        for path, view in bound.path_operations.items():
            for operation in view.operations:
                found += [(method, path, operation) for method in operation.methods]
    return sorted(found, key=lambda item: item[:2])


OPERATIONS = operations()
GUARDED = [item for item in OPERATIONS if item[:2] not in PUBLIC_API]


def name_of(value: Any) -> str:
    return f"{value[0]} {value[1]}" if isinstance(value, tuple) else str(value)


@pytest.fixture
def world(team: Team, settings: Any) -> World:
    # Nothing of the kind listens there, so that an answer does not depend on what runs on this machine.
    settings.MLFLOW_TRACKING_URI = settings.SERVING_INTERNAL_URL = "http://127.0.0.1:9"
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    return world_make(team)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    import json

    loaded: dict[str, Any] = json.loads(json.dumps(api.get_openapi_schema(path_prefix=""), default=str))
    return loaded


def send(person: Person | None, world: World, schema: dict[str, Any], operation: Operation) -> Any:
    """Call an operation on the team's things with the smallest body that its schema accepts."""
    method, path, _operation = operation
    described = schema["paths"][path][method.lower()]
    body, content_type = body_of(schema, described)
    headers = {"Authorization": f"Bearer {person.token}"} if person else {}
    client = Client(raise_request_exception=False)
    address = f"/api/v1{world.fill(path)}?{query_of(schema, described)}"
    return client.generic(method, address, body, content_type=content_type, headers=headers)


def counts() -> dict[str, int]:
    """How many rows there are of everything that people make."""
    ours = [model for model in apps.get_models() if model.__module__.startswith("apps.")]
    return {model._meta.label: model._default_manager.count() for model in ours}


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_every_operation_names_its_role(operation: Operation) -> None:
    method, path, found = operation
    role = getattr(found.view_func, "required_role", None)
    if (method, path) in PUBLIC_API:
        assert not found.auth_callbacks
        return
    assert isinstance(role, Role), "decorate it with @require(Role....)"
    assert {getattr(auth, "needed", None) for auth in found.auth_callbacks} == {role}
    if method != "GET" and (method, path) not in OPEN_WRITES:
        assert role.allows(Role.DEVELOPER), "a viewer changes nothing"


@contextmanager
def undone(failures: list[str], what: str) -> Iterator[None]:
    """Try something whose changes are taken back; what is wrong is collected, so that one run tells all of it."""
    try:
        with transaction.atomic():
            yield
            transaction.set_rollback(True)
    except AssertionError as error:
        failures.append(f"{what}: {error}")


def test_nobody_gets_in_without_a_key(world: World, schema: dict[str, Any]) -> None:
    before, failures = counts(), []
    for operation in GUARDED:
        with undone(failures, name_of(operation)):
            answer = send(None, world, schema, operation)
            assert answer.status_code == 401, answer.content
            assert answer.json()["error"]["code"] == "unauthenticated"
            assert counts() == before
    assert not failures, "\n".join(failures)


def test_an_outsider_finds_nothing(team: Team, world: World, schema: dict[str, Any]) -> None:
    before, failures = counts(), []
    for operation in GUARDED:
        with undone(failures, name_of(operation)):
            _outsider_finds_nothing(team, world, operation, send(team.outsider, world, schema, operation), before)
    assert not failures, "\n".join(failures)


def _outsider_finds_nothing(team: Team, world: World, operation: Operation, answer: Any, before: Any) -> None:
    method, path, _operation = operation
    shown = b"".join(answer.streaming_content) if answer.streaming else answer.content
    if "{" in path and path.split("/")[1] in {"tasks", "methods"}:
        assert answer.status_code == 200  # what the installation can do is no secret
    elif "{" in path:
        assert answer.status_code == 404, shown
        # The name that was asked for may be repeated, nothing else of it.
        shown = shown.replace(world.fill(path).split("/")[2].encode(), b"")
    elif method == "GET":
        assert answer.status_code == 200, shown
    else:
        return  # makes something in the outsider's own workspace, or is refused there
    assert MARK.encode() not in shown
    if method != "GET":
        assert counts() == before


def test_a_viewer_reads_and_changes_nothing(team: Team, world: World, schema: dict[str, Any]) -> None:
    before, failures = counts(), []
    for operation in GUARDED:
        method, _path, found = operation
        with undone(failures, name_of(operation)):
            answer = send(team.viewer, world, schema, operation)
            shown = b"" if answer.streaming else answer.content
            if found.view_func.required_role != Role.VIEWER:
                assert answer.status_code == 403, shown
                assert counts() == before
            elif method == "GET":
                # Some answers need files or services that a row alone does not bring: those say so, and none crashes.
                assert answer.status_code in {200, 404, 409, 422, 503}, shown
    assert not failures, "\n".join(failures)


# --- pages ------------------------------------------------------------------------------------------------------------


def pages(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name and route of every page."""
    for entry in (resolver or get_resolver()).url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from pages(entry, route)
        elif isinstance(entry, URLPattern) and not route.startswith("api/"):
            yield entry.name or route, route


PAGES = sorted(set(pages()))
PRIVATE_PAGES = [page for page in PAGES if page[0] not in PUBLIC_PAGES]


def address(name: str, route: str, world: World) -> str:
    """The page's address, about the team's things."""
    if "uidb36" in route:
        return reverse(name, args=["1", "a-b"])
    plain = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.removeprefix("^"))
    section, _slash, rest = plain.partition("/")
    return f"/{section}/{world.fill(rest)}" if section == "settings" else f"/{world.fill(plain)}"


def test_every_page_but_the_sign_in_needs_one(world: World) -> None:
    failures: list[str] = []
    for name, route in PAGES:
        for method in ("get", "post"):
            with undone(failures, f"{method} {name}"):
                answer = getattr(Client(), method)(address(name, route, world))
                if name in PUBLIC_PAGES:
                    assert answer.status_code in {200, 302, 404, 405}
                else:
                    assert answer.status_code == 302, answer.status_code
                    assert answer["Location"].startswith("/accounts/login/")
    assert not failures, "\n".join(failures)


def test_a_page_shows_an_outsider_nothing(team: Team, world: World) -> None:
    before, failures = counts(), []
    for name, route in PRIVATE_PAGES:
        target = address(name, route, world)
        for method in ("get", "post"):
            with undone(failures, f"{method} {target}"):
                client = team.outsider.browser(raise_request_exception=False)
                answer = getattr(client, method)(target)
                shown = (b"".join(answer.streaming_content) if answer.streaming else answer.content).decode()
                assert answer.status_code < 500, answer.status_code
                if "<" in route:
                    assert answer.status_code in {403, 404, 405}, answer.status_code
                    for part in target.split("/"):
                        shown = shown.replace(part, "") if MARK in part else shown
                assert MARK not in shown
                if "<" in route:
                    assert counts() == before
    assert not failures, "\n".join(failures)


def test_a_viewer_changes_nothing_by_a_page(team: Team, world: World) -> None:
    failures: list[str] = []
    for name, route in PRIVATE_PAGES:
        if name in OPEN_PAGES:
            continue
        client = team.viewer.browser(raise_request_exception=False)
        before = counts()
        with undone(failures, f"post {name}"):
            answer = client.post(address(name, route, world))
            assert answer.status_code < 500, answer.status_code
            assert counts() == before
    assert not failures, "\n".join(failures)
