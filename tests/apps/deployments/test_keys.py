"""Keys of an endpoint: made and shown once, changed, revoked; over REST, on their tab, and at the live serving port."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import ApiToken, AuditEntry
from apps.accounts.services import member_remove
from apps.deployments import selectors, services
from apps.deployments.applying import deployment_apply
from apps.deployments.backend import serving_backend
from apps.deployments.keys import access_keys, keys_note_use, keys_push
from apps.deployments.models import Endpoint, EndpointKey
from tests.apps.deployments.conftest import VersionMake
from tests.modelkit.serving.toys import Host, wait_until
from tests.personas import Team

KEYS = "/endpoints/intents/keys"
Committing = Callable[..., Any]


@pytest.fixture
def endpoint(team: Team, version_make: VersionMake) -> Endpoint:
    version_make(team.workspace, 1)
    return services.endpoint_create(by=team.developer.identity, name="intents", model="intents@1")


def make(team: Team, **body: Any) -> dict[str, Any]:
    answer = team.developer.api("POST", KEYS, {"name": "shop"} | body)
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def test_a_key_is_shown_once_and_stored_as_a_hash(team: Team, endpoint: Endpoint) -> None:
    made = make(team, expires_in_days=30, rate_per_minute=60, burst=5, quota_per_day=1000)
    assert made["key"].startswith("ty_")
    row = EndpointKey.objects.get()
    assert made["key"] not in str(vars(row))
    listed = team.viewer.api("GET", KEYS).json()["items"]
    assert listed == [{name: value for name, value in made.items() if name != "key"}]
    assert (listed[0]["prefix"], listed[0]["created_by"]) == (made["key"][:10], "developer")
    [entry] = AuditEntry.objects.filter(action="endpoint.key_create", target="intents")
    assert made["key"] not in str(entry.details)


def test_what_is_out_of_bounds_is_named(team: Team, endpoint: Endpoint) -> None:
    for body, field in (
        ({"name": ""}, "name"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"rate_per_minute": 0}, "rate_per_minute"),
        ({"burst": 1.5}, "burst"),
        ({"quota_per_day": -1}, "quota_per_day"),
        ({"colour": "red"}, "colour"),
    ):
        answer = team.developer.api("POST", KEYS, {"name": "shop"} | body)
        assert answer.status_code == 422
        assert any(field in place for place in answer.json()["error"]["fields"]), answer.content
    assert not EndpointKey.objects.exists()


def test_changing_touches_what_is_named_only(team: Team, endpoint: Endpoint) -> None:
    made = make(team, expires_in_days=30, rate_per_minute=60)
    path = f"{KEYS}/{made['id']}"
    changed = team.developer.api("PATCH", path, {"quota_per_day": 5, "rate_per_minute": None}).json()
    assert (changed["quota_per_day"], changed["rate_per_minute"]) == (5, None)
    assert changed["expires_at"] == made["expires_at"]
    assert team.developer.api("PATCH", path, {"expires_in_days": None}).json()["expires_at"] is None
    assert team.developer.api("DELETE", path).status_code == 204
    assert team.developer.api("DELETE", path).status_code == 204, "twice is fine"
    refused = team.developer.api("PATCH", path, {"quota_per_day": 6})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "key_revoked")
    assert AuditEntry.objects.filter(action="endpoint.key_revoke").count() == 1


def test_a_viewer_changes_nothing_and_an_outsider_sees_nothing(team: Team, endpoint: Endpoint) -> None:
    made = make(team)
    path = f"{KEYS}/{made['id']}"
    assert team.viewer.api("POST", KEYS, {"name": "mine"}).status_code == 403
    assert team.viewer.api("PATCH", path, {"burst": 1}).status_code == 403
    assert team.viewer.api("DELETE", path).status_code == 403
    assert team.outsider.api("GET", KEYS).status_code == 404
    assert team.outsider.api("DELETE", path).status_code == 404
    browser = team.viewer.browser()
    assert browser.post(f"/endpoints/intents/keys/{made['id']}/revoke").status_code == 403
    assert EndpointKey.objects.get().usable


def test_the_serving_port_is_told_of_usable_keys_only(
    team: Team, endpoint: Endpoint, django_capture_on_commit_callbacks: Committing
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        kept, revoked, ended = (make(team, name=name) for name in ("kept", "revoked", "ended"))
        EndpointKey.objects.filter(public_id=ended["id"]).update(expires_at=timezone.now() - timedelta(seconds=1))
        team.developer.api("DELETE", f"{KEYS}/{revoked['id']}")
    told = [key for key in access_keys() if key.endpoint]
    assert [key.id for key in told] == [kept["id"]]
    assert kept["id"] in (written := (serving_backend()._paths.keys.read_text()))
    assert revoked["id"] not in written
    # It is the endpoint's, not its maker's.
    member_remove(by=team.owner.identity, membership=team.developer.user.memberships.get(workspace=team.workspace))
    assert [key.id for key in access_keys() if key.endpoint] == [kept["id"]]
    with django_capture_on_commit_callbacks(execute=True):
        services.endpoint_delete(by=team.maintainer.identity, endpoint=endpoint)
    assert kept["id"] not in serving_backend()._paths.keys.read_text()


def test_a_disk_that_refuses_the_file_does_not_undo_the_revocation(
    team: Team, endpoint: Endpoint, home: Any, django_capture_on_commit_callbacks: Committing
) -> None:
    made = make(team)
    (home / "serving").mkdir()
    (home / "serving" / "keys.json").mkdir()
    with django_capture_on_commit_callbacks(execute=True):
        assert team.developer.api("DELETE", f"{KEYS}/{made['id']}").status_code == 204
    assert EndpointKey.objects.get().revoked_at is not None
    (home / "serving" / "keys.json").rmdir()
    keys_push()
    assert made["id"] not in (home / "serving" / "keys.json").read_text()


def test_revocation_waits_for_no_task(
    team: Team, endpoint: Endpoint, host: Host, django_capture_on_commit_callbacks: Committing
) -> None:
    deployment_apply()
    with django_capture_on_commit_callbacks(execute=True):
        made = make(team, quota_per_day=5)
    wait_until(lambda: host.predict("intents", token=made["key"]).status_code == 200, what="the key")
    wait_until(lambda: made["id"] in serving_backend().key_usage(), what="its use")
    host.predict("intents", token=team.viewer.token)
    wait_until(lambda: len(serving_backend().key_usage()) == 2, what="the token's use")
    ApiToken.objects.update(last_used_at=None)
    keys_note_use()
    [row] = team.viewer.api("GET", KEYS).json()["items"]
    assert row["inputs_today"] >= 1
    assert row["last_used_at"] is not None
    assert ApiToken.objects.get(user=team.viewer.user).last_used_at is not None
    # Nobody applies anything from here on: the service itself has to reach the serving port.
    with django_capture_on_commit_callbacks(execute=True):
        team.developer.api("DELETE", f"{KEYS}/{made['id']}")
    wait_until(lambda: host.predict("intents", token=made["key"]).status_code == 401, what="the refusal")


# --- the tab ----------------------------------------------------------------------------------------------------------


def test_the_tab_makes_changes_and_revokes(team: Team, endpoint: Endpoint) -> None:
    browser = team.developer.browser()
    assert b"No key yet" in browser.get("/endpoints/intents/?tab=keys").content
    made = browser.post("/endpoints/intents/keys", {"name": "shop", "expires_in_days": "30", "quota_per_day": "7"})
    [plain] = set(re.findall(r"<pre>(ty_[\w-]+)</pre>", made.content.decode()))
    assert "no-store" in made["Cache-Control"]
    row = EndpointKey.objects.get()
    page = browser.get(f"/endpoints/intents/?tab=keys&change={row.public_id}").content.decode()
    assert plain not in page
    assert 'value="7"' in page
    # The end was left alone, so it does not move.
    form = {"name": "till", "expires_in_days": "30", "quota_per_day": ""}
    assert browser.post(f"/endpoints/intents/keys/{row.public_id}", form).status_code == 302
    changed = EndpointKey.objects.get()
    assert (changed.name, changed.quota_per_day, changed.expires_at) == ("till", None, row.expires_at)
    assert browser.post(f"/endpoints/intents/keys/{row.public_id}/revoke").status_code == 302
    assert b"revoked" in browser.get("/endpoints/intents/?tab=keys").content
    assert "btn-danger-plain" not in viewers_page(team)


def viewers_page(team: Team) -> str:
    return str(team.viewer.browser().get("/endpoints/intents/?tab=keys").content.decode())


def test_a_refused_form_says_why_at_the_field(team: Team, endpoint: Endpoint) -> None:
    browser = team.developer.browser()
    answer = browser.post("/endpoints/intents/keys", {"name": "shop", "expires_in_days": "0"})
    assert answer.status_code == 422
    assert b"Choose 1 to 3650 days" in answer.content
    assert selectors.keys_of(endpoint).count() == 0
