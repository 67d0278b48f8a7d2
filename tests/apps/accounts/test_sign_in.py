"""Signing in with real forms: passwords, the one-time password, throttling, reset by mail, sign-out."""

from __future__ import annotations

import re

import pytest
from django.core import mail
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client

from apps.accounts import services
from apps.accounts.models import AuditEntry, User
from apps.core.errors import Invalid
from tests.personas import Team

LOGIN = "/accounts/login/"


@pytest.fixture(autouse=True)
def _empty_cache(db: None) -> None:
    cache.clear()


def sign_in(client: Client, name: str, password: str) -> object:
    return client.post(LOGIN, {"login": name, "password": password})


@pytest.mark.parametrize("name", ["viewer", "viewer@example.org"])
def test_sign_in_by_name_or_address(team: Team, name: str) -> None:
    client = Client()
    answer = client.post(LOGIN, {"login": name, "password": "viewer-Passw0rd!"})
    assert answer.status_code == 302
    assert answer["Location"] == "/"
    assert client.get("/").status_code == 200


def test_pages_lead_to_the_sign_in(team: Team) -> None:
    answer = Client().get("/")
    assert answer.status_code == 302
    assert answer["Location"].startswith(LOGIN)


def test_nobody_signs_up(team: Team) -> None:
    form = {"username": "eve", "email": "eve@example.org", "password1": "eve-Passw0rd!"}
    assert b"closed" in Client().post("/accounts/signup/", form).content.lower()
    assert not User.objects.filter(username="eve").exists()


def test_guessing_is_throttled(team: Team) -> None:
    for _attempt in range(5):
        sign_in(Client(), "viewer", "wrong")
    client = Client()
    sign_in(client, "viewer", "viewer-Passw0rd!")
    assert "_auth_user_id" not in client.session
    # Another name is not locked out with it.
    other = Client()
    sign_in(other, "owner", "owner-Passw0rd!")
    assert "_auth_user_id" in other.session


def test_a_one_time_password_must_be_changed(team: Team) -> None:
    made = services.member_add(by=team.owner.identity, username="lena", role=team.viewer.identity.role)
    client = Client()
    sign_in(client, "lena", made.one_time_password or "")
    for page in ("/", "/accounts/reauthenticate/"):
        assert client.get(page)["Location"] == "/accounts/password/change/"
    refused = client.get("/api/v1/me")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "password_change_required")
    form = {"oldpassword": made.one_time_password, "password1": "Str0ng-and-new!", "password2": "Str0ng-and-new!"}
    assert client.post("/accounts/password/change/", form).status_code == 302
    assert client.get("/").status_code == 200
    assert client.get("/api/v1/me").json()["username"] == "lena"
    assert AuditEntry.objects.filter(action="user.password", actor__username="lena").exists()


def test_a_forgotten_password_is_reset_by_mail(team: Team) -> None:
    client = Client()
    assert client.post("/accounts/password/reset/", {"email": "viewer@example.org"}).status_code == 302
    assert len(mail.outbox) == 1
    link = re.search(r"https?://[^/]+(/accounts/password/reset/key/\S+)", str(mail.outbox[0].body))
    assert link
    page = client.get(link[1], follow=True)
    form = {"password1": "Another-Passw0rd!", "password2": "Another-Passw0rd!"}
    assert client.post(page.request["PATH_INFO"], form).status_code == 302
    assert User.objects.get(username="viewer").check_password("Another-Passw0rd!")
    # The link works once.
    assert b"password1" not in Client().get(link[1], follow=True).content


def test_a_reset_does_not_tell_who_exists(team: Team) -> None:
    known = Client().post("/accounts/password/reset/", {"email": "viewer@example.org"})
    unknown = Client().post("/accounts/password/reset/", {"email": "nobody@example.org"})
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])


def test_sign_out_ends_the_session(team: Team) -> None:
    client = team.viewer.browser()
    assert client.get("/").status_code == 200
    client.post("/accounts/logout/")
    assert client.get("/").status_code == 302


@pytest.mark.django_db
def test_the_first_start_makes_one_admin() -> None:
    made = services.installation_bootstrap()
    assert made.created
    assert made.password
    admin = User.objects.get(username="admin")
    assert admin.check_password(made.password)
    assert admin.must_change_password
    assert admin.memberships.get().workspace.name == "default"
    again = services.installation_bootstrap(password="Some-0ther-password")
    assert not again.created
    admin.refresh_from_db()
    assert admin.check_password(made.password)


@pytest.mark.django_db
def test_a_given_password_stays(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TUNEYARD_ADMIN_PASSWORD", "Given-by-hand-1")
    call_command("bootstrap")
    admin = User.objects.get(username="admin")
    assert admin.check_password("Given-by-hand-1")
    assert not admin.must_change_password
    assert "Given-by-hand-1" not in capsys.readouterr().out


@pytest.mark.django_db
def test_a_weak_given_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid):
        services.installation_bootstrap(password="12345")
    monkeypatch.setenv("TUNEYARD_ADMIN_PASSWORD", "12345")
    with pytest.raises(CommandError, match="TUNEYARD_ADMIN_PASSWORD"):
        call_command("bootstrap")
    assert not User.objects.exists()
