"""Tokens: what is stored, what they open, and when they stop."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.accounts import services
from apps.accounts.models import ApiToken, AuditEntry, Membership, Role
from apps.accounts.signals import tokens_changed
from apps.deployments.keys import access_keys
from tests.personas import Team, call


def test_only_the_hash_is_stored(team: Team) -> None:
    answer = team.developer.api("POST", "/tokens", {"name": "ci", "role": "viewer"})
    assert answer.status_code == 201, answer.content
    token = answer.json()["token"]
    assert token.startswith("ty_")
    assert len(token) == 46
    row = ApiToken.objects.get(public_id=answer.json()["id"])
    assert row.sha256 == hashlib.sha256(token.encode()).hexdigest()
    assert all(token not in str(value) for value in vars(row).values())
    assert "token" not in team.developer.api("GET", "/tokens").json()["items"][0]


def test_a_token_opens_its_workspace_with_its_role(team: Team) -> None:
    token = team.owner.api("POST", "/tokens", {"name": "reader", "role": "viewer"}).json()["token"]
    me = call("GET", "/me", Authorization=f"Bearer {token}").json()
    assert (me["workspace"]["name"], me["workspace"]["role"], me["token"]) == ("bank", "viewer", "reader")
    refused = call("POST", "/members", {"username": "eve", "role": "owner"}, Authorization=f"Bearer {token}")
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "forbidden"


def test_no_token_above_its_maker(team: Team) -> None:
    refused = team.developer.api("POST", "/tokens", {"name": "up", "role": "owner"})
    assert refused.status_code == 403
    assert list(refused.json()["error"]["fields"]) == ["role"]


def test_a_token_follows_its_owner_down(team: Team) -> None:
    Membership.objects.filter(user=team.maintainer.user).update(role=Role.VIEWER)
    assert team.maintainer.api("GET", "/me").json()["workspace"]["role"] == "viewer"
    assert team.maintainer.api("GET", "/audit").status_code == 403


@pytest.mark.parametrize("ending", ["revoked", "expired", "left", "inactive"])
def test_a_token_that_ended_opens_nothing(team: Team, ending: str) -> None:
    assert team.viewer.api("GET", "/me").status_code == 200
    keys = len(access_keys())
    row = ApiToken.objects.get(user=team.viewer.user)
    if ending == "revoked":
        assert team.viewer.api("DELETE", f"/tokens/{row.public_id}").status_code == 204
    elif ending == "expired":
        ApiToken.objects.filter(pk=row.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    elif ending == "left":
        assert team.owner.api("DELETE", "/members/viewer").status_code == 204
    else:
        team.viewer.user.is_active = False
        team.viewer.user.save()
    assert team.viewer.api("GET", "/me").status_code == 401
    assert len(access_keys()) == keys - 1


def test_revoking_is_announced_and_repeatable(team: Team, django_capture_on_commit_callbacks: object) -> None:
    seen: list[object] = []

    def listen(sender: object, workspace: object, **kwargs: object) -> None:
        seen.append(workspace)

    tokens_changed.connect(listen)
    row = ApiToken.objects.get(user=team.viewer.user)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        services.token_revoke(by=team.owner.identity, token=row)
        services.token_revoke(by=team.owner.identity, token=row)
    tokens_changed.disconnect(listen)
    assert seen == [team.workspace]
    assert AuditEntry.objects.filter(action="token.revoke").count() == 1


def test_others_tokens_are_unseen_but_by_an_owner(team: Team) -> None:
    row = ApiToken.objects.get(user=team.viewer.user)
    assert team.developer.api("DELETE", f"/tokens/{row.public_id}").status_code == 404
    assert team.outsider.api("DELETE", f"/tokens/{row.public_id}").status_code == 404
    assert {item["username"] for item in team.developer.api("GET", "/tokens").json()["items"]} == {"developer"}
    assert len(team.owner.api("GET", "/tokens").json()["items"]) == 4
    assert team.owner.api("DELETE", f"/tokens/{row.public_id}").status_code == 204


def test_the_last_use_is_written_once_a_minute(team: Team) -> None:
    team.viewer.api("GET", "/me")
    row = ApiToken.objects.get(user=team.viewer.user)
    assert row.last_used_at is not None
    first = timezone.now() - timedelta(seconds=30)
    ApiToken.objects.filter(pk=row.pk).update(last_used_at=first)
    team.viewer.api("GET", "/me")
    row.refresh_from_db()
    assert row.last_used_at == first
    ApiToken.objects.filter(pk=row.pk).update(last_used_at=first - timedelta(minutes=1))
    team.viewer.api("GET", "/me")
    row.refresh_from_db()
    assert row.last_used_at > first


def test_the_command_prints_a_working_token(team: Team) -> None:
    out = StringIO()
    call_command("token_create", user="owner", workspace="bank", role="owner", name="ci", stdout=out)
    token = out.getvalue().strip()
    assert call("GET", "/me", Authorization=f"Bearer {token}").json()["workspace"]["role"] == "owner"


@pytest.mark.parametrize(
    ("user", "workspace", "role", "message"),
    [
        ("owner", "rival", "viewer", "no member"),
        ("nobody", "bank", "viewer", "no member"),
        ("viewer", "bank", "owner", "may not do more"),
    ],
)
def test_the_command_refuses(team: Team, user: str, workspace: str, role: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("token_create", user=user, workspace=workspace, role=role, name="ci")
