"""Members: who may add, change and remove them, and what goes with them."""

from __future__ import annotations

import pytest

from apps.accounts.models import ApiToken, AuditEntry, Membership, Role, User
from apps.accounts.services import token_create
from tests.personas import Team, call


def test_a_new_user_gets_a_one_time_password(team: Team) -> None:
    answer = team.owner.api("POST", "/members", {"username": "lena", "role": "developer", "email": "l@example.org"})
    assert answer.status_code == 201, answer.content
    password = answer.json()["one_time_password"]
    user = User.objects.get(username="lena")
    assert user.check_password(password)
    assert user.must_change_password
    entry = AuditEntry.objects.get(action="member.add")
    assert (entry.actor, entry.workspace, entry.target) == (team.owner.user, team.workspace, "lena")
    assert password not in str(entry.details)


def test_a_known_user_keeps_the_password(team: Team) -> None:
    answer = team.owner.api("POST", "/members", {"username": "outsider", "role": "viewer"})
    assert answer.status_code == 201
    assert answer.json()["one_time_password"] is None
    assert not User.objects.get(username="outsider").must_change_password


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"username": "viewer", "role": "owner"}, 409, "username"),
        ({"username": "a b", "role": "viewer"}, 422, "username"),
        ({"username": "new", "role": "king"}, 422, "role"),
        ({"username": "new", "role": "viewer", "email": "nonsense"}, 422, "email"),
        ({"username": "new", "role": "viewer", "email": "viewer@example.org"}, 409, "email"),
        ({"username": "new", "role": "viewer", "admin": True}, 422, "admin"),
    ],
)
def test_a_wrong_member_is_refused_by_field(team: Team, body: dict[str, object], status: int, field: str) -> None:
    answer = team.owner.api("POST", "/members", body)
    assert answer.status_code == status
    assert list(answer.json()["error"]["fields"]) == [field]
    assert User.objects.count() == 5


@pytest.mark.parametrize("who", ["maintainer", "developer", "viewer"])
def test_only_owners_change_members(team: Team, who: str) -> None:
    person = getattr(team, who)
    assert person.api("POST", "/members", {"username": "x", "role": "viewer"}).status_code == 403
    assert person.api("PATCH", "/members/viewer", {"role": "owner"}).status_code == 403
    assert person.api("DELETE", "/members/owner").status_code == 403
    assert Membership.objects.filter(workspace=team.workspace).count() == 4


def test_the_last_owner_stays(team: Team) -> None:
    assert team.owner.api("PATCH", "/members/owner", {"role": "viewer"}).json()["error"]["code"] == "last_owner"
    assert team.owner.api("DELETE", "/members/owner").json()["error"]["code"] == "last_owner"
    assert team.owner.api("PATCH", "/members/viewer", {"role": "owner"}).status_code == 200
    assert team.owner.api("DELETE", "/members/owner").status_code == 204


def test_who_leaves_takes_the_tokens_along(team: Team) -> None:
    assert team.developer.api("DELETE", "/members/developer").status_code == 204
    assert ApiToken.objects.get(user=team.developer.user).revoked_at is not None


def test_a_token_for_less_cannot_leave_for_its_user(team: Team) -> None:
    _row, token = token_create(by=team.developer.identity, name="reads", role=Role.VIEWER)
    assert call("DELETE", "/members/developer", Authorization=f"Bearer {token}").status_code == 403
    assert Membership.objects.filter(user=team.developer.user).exists()


def test_a_workspace_opens_with_its_owner(team: Team) -> None:
    answer = team.owner.api("POST", "/workspaces", {"name": "cards", "title": "Cards"})
    assert answer.status_code == 201
    assert Membership.objects.get(workspace__name="cards").user == team.owner.user
    assert team.owner.api("POST", "/workspaces", {"name": "cards"}).json()["error"]["code"] == "name_taken"
    assert team.owner.api("POST", "/workspaces", {"name": "Ca rds"}).status_code == 422
    assert team.developer.api("POST", "/workspaces", {"name": "mine"}).status_code == 403
