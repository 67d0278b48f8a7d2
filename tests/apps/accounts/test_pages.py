"""Pages of settings, and the choice of the workspace."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import ApiToken, Membership, Role, User, Workspace
from tests.personas import Team, call

PAGES = ["/settings/profile", "/settings/members", "/settings/tokens", "/settings/about"]


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer.content
    return " ".join(answer.content.decode().split())


@pytest.mark.parametrize("page", PAGES)
def test_settings_stand_for_everybody(team: Team, page: str, settings: Any) -> None:
    settings.MLFLOW_TRACKING_URI = settings.SERVING_INTERNAL_URL = "http://127.0.0.1:9"
    for person in (team.viewer, team.owner):
        assert person.user.username in text(person.browser().get(page))


def test_the_audit_page_is_for_maintainers(team: Team) -> None:
    assert "token.create" in text(team.maintainer.browser().get("/settings/audit"))
    assert "No change matches" in text(team.maintainer.browser().get("/settings/audit?action=nothing"))
    refused = team.developer.browser().get("/settings/audit")
    assert refused.status_code == 403
    assert "needs the role Maintainer" in refused.content.decode()


def test_a_token_is_shown_once(team: Team) -> None:
    client = team.developer.browser()
    answer = client.post("/settings/tokens", {"name": "ci", "role": "viewer", "expires_in_days": "30"})
    token = re.search(r"ty_[\w-]{43}", text(answer))
    assert token
    assert answer["Cache-Control"] == "no-store"
    assert call("GET", "/me", Authorization=f"Bearer {token[0]}").json()["workspace"]["role"] == "viewer"
    assert token[0] not in text(client.get("/settings/tokens"))
    row = ApiToken.objects.get(name="ci")
    assert "Revoke ci?" in text(client.get("/settings/tokens"))
    client.post(f"/settings/tokens/{row.public_id}/revoke")
    assert call("GET", "/me", Authorization=f"Bearer {token[0]}").status_code == 401


def test_a_token_that_has_ended_says_so(team: Team) -> None:
    ApiToken.objects.filter(user=team.developer.user).update(expires_at=timezone.now() - timedelta(seconds=1))
    page = team.developer.browser().get("/settings/tokens").content.decode()
    assert ">ended<" in page


def test_no_role_above_ones_own_is_offered(team: Team) -> None:
    client = team.developer.browser()
    assert '<option value="owner"' not in text(client.get("/settings/tokens"))
    assert client.post("/settings/tokens", {"name": "up", "role": "owner"}).status_code == 422
    assert not ApiToken.objects.filter(name="up").exists()


def test_a_member_is_added_by_the_form(team: Team) -> None:
    client = team.owner.browser()
    page = text(client.post("/settings/members/add", {"username": "lena", "role": "developer"}))
    password = re.search(r"<pre>([a-z0-9]{4}(?:-[a-z0-9]{4}){3})</pre>", page)
    assert password
    assert User.objects.get(username="lena").check_password(password[1])
    assert password[1] not in text(client.get("/settings/members"))
    twice = client.post("/settings/members/add", {"username": "lena", "role": "developer"})
    assert twice.status_code == 422
    assert "a member already" in twice.content.decode()


def test_roles_change_and_members_go(team: Team) -> None:
    client = team.owner.browser()
    client.post("/settings/members/viewer/role", {"role": "maintainer"})
    assert Membership.objects.get(user=team.viewer.user).role == Role.MAINTAINER
    client.post("/settings/members/viewer/remove")
    assert not Membership.objects.filter(user=team.viewer.user).exists()


def test_a_new_one_time_password_is_not_for_a_strangers_member(team: Team) -> None:
    page = text(team.owner.browser().post("/settings/members/viewer/password"))
    assert "One-time password of viewer" in page
    assert User.objects.get(username="viewer").must_change_password
    # Who owns another workspace could be reached through it.
    Membership.objects.create(workspace=team.workspace, user=team.outsider.user, role=Role.VIEWER)
    refused = team.owner.browser().post("/settings/members/outsider/password")
    assert refused.status_code == 403
    assert not User.objects.get(username="outsider").must_change_password


def test_the_workspace_is_chosen_and_kept(team: Team) -> None:
    client = team.owner.browser()
    client.post("/settings/workspaces/new", {"title": "Karten 卡", "name": "cards"})
    assert "Karten 卡" in text(client.get("/settings/profile"))
    client.post("/workspaces/switch", {"workspace": "bank"})
    assert "Retail bank" in text(client.get("/settings/profile"))
    assert client.post("/workspaces/switch", {"workspace": "rival"}).status_code == 404
    assert "Retail bank" in text(client.get("/settings/profile"))


def test_language_and_theme_are_the_users(team: Team) -> None:
    client = team.viewer.browser()
    answer = client.post("/settings/profile", {"language": "zh-hans", "theme": "dark"})
    assert answer.cookies["tuneyard_theme"].value == "dark"
    page = client.get("/settings/profile").content.decode()
    assert 'lang="zh-hans"' in page
    assert 'data-bs-theme="dark"' in page


def test_the_switch_of_the_top_bar_beats_the_profile(team: Team) -> None:
    client = team.viewer.browser()
    client.post("/settings/profile", {"language": "zh-hans", "theme": "auto"})
    client.post("/i18n/setlang/", {"language": "en", "next": "/settings/profile"})
    assert 'lang="en"' in client.get("/settings/profile").content.decode()
    assert User.objects.get(username="viewer").language == "en"


def test_who_belongs_nowhere_is_told(team: Team) -> None:
    Membership.objects.filter(user=team.viewer.user).delete()
    answer = team.viewer.browser().get("/settings/members")
    assert answer.status_code == 403
    assert "You belong to no workspace" in answer.content.decode()
    assert Workspace.objects.count() == 2
