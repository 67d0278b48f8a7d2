"""Without a sign-in nothing but the sign-in answers."""

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


def test_a_page_redirects_to_the_sign_in(client: Client) -> None:
    response = client.get("/")
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/")


def test_every_answer_carries_the_security_policy_and_a_request_id(client: Client) -> None:
    response = client.get("/accounts/login/")
    assert "script-src 'self'" in response["Content-Security-Policy"]
    assert len(response["X-Request-ID"]) == 12
