"""Signing in with real forms: passwords, the one-time password, throttling, reset by mail, sign-out."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings
from django.core import mail
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client

from apps.accounts import services
from apps.accounts.models import AuditEntry, User
from apps.core.errors import Invalid
from tests.personas import Team
from tuneyard import env

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
    link = re.search(re.escape(settings.PUBLIC_URL) + r"(/accounts/password/reset/key/\S+)", str(mail.outbox[0].body))
    assert link
    assert mail.outbox[0].subject == "Tuneyard: choose a new password"
    assert "account viewer" in str(mail.outbox[0].body)
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
    # Nor is a stranger written to.
    assert [message.to for message in mail.outbox] == [["viewer@example.org"]]


def test_the_link_leads_to_the_public_address_whatever_host_was_named(team: Team, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    Client().post("/accounts/password/reset/", {"email": "viewer@example.org"}, headers={"Host": "evil.example"})
    assert "evil" not in str(mail.outbox[0].body)
    assert f"{settings.PUBLIC_URL}/accounts/password/reset/key/" in str(mail.outbox[0].body)


@pytest.mark.parametrize("address", ["viewer@example.org", "nobody@example.org"])
def test_a_mail_server_that_is_down_is_logged_and_tells_nobody_who_exists(
    team: Team, settings: Any, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    assert Client().post("/accounts/password/reset/", {"email": address}).status_code == 302
    assert ("could not be sent" in caplog.text) == address.startswith("viewer")


@pytest.mark.parametrize("delivered", [True, False])
def test_the_page_says_where_the_link_goes_without_a_mail_server(settings: Any, delivered: bool) -> None:
    settings.MAIL_DELIVERED = delivered
    for page in ("/accounts/password/reset/", "/accounts/password/reset/done/"):
        assert (b"No mail server is set up" in Client().get(page).content) is not delivered


def test_one_changes_ones_own_address_with_the_password(team: Team) -> None:
    browser = team.viewer.browser()
    change = {"email": "new@example.org", "password": "viewer-Passw0rd!"}
    wrong = browser.post("/settings/profile/email", {**change, "password": "guessed"})
    assert wrong.status_code == 422
    assert b"This is not your password." in wrong.content
    taken = browser.post("/settings/profile/email", {**change, "email": "OWNER@example.org"})
    assert b"Another user has this address." in taken.content
    assert User.objects.get(username="viewer").email == "viewer@example.org"
    assert browser.post("/settings/profile/email", change).status_code == 302
    assert User.objects.get(username="viewer").email == "new@example.org"
    assert AuditEntry.objects.filter(action="user.email", actor__username="viewer").exists()
    Client().post("/accounts/password/reset/", {"email": "new@example.org"})
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}),
        (
            "file:/var/mails",
            {"EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend", "EMAIL_FILE_PATH": "/var/mails"},
        ),
        (
            "smtps://me:p%40ss@mail.example.org",
            {"EMAIL_PORT": 465, "EMAIL_USE_SSL": True, "EMAIL_HOST_PASSWORD": "p@ss"},
        ),
        ("smtp+tls://mail.example.org", {"EMAIL_PORT": 587, "EMAIL_USE_TLS": True, "EMAIL_HOST": "mail.example.org"}),
    ],
)
def test_the_mail_setting(monkeypatch: pytest.MonkeyPatch, value: str, expected: dict[str, object]) -> None:
    monkeypatch.setenv("EMAIL_URL", value)
    assert expected.items() <= env.email("EMAIL_URL").items()


@pytest.mark.parametrize("value", ["mail.example.org", "imap://mail.example.org", "smtp://", "file:mails"])
def test_a_mail_setting_that_means_nothing_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("EMAIL_URL", value)
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL must be"):
        env.email("EMAIL_URL")


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
