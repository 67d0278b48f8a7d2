"""How allauth behaves here: nobody signs up, since accounts are made by an owner; passwords go through our service."""

from __future__ import annotations

import logging
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.urls import reverse

from apps.accounts import services
from apps.accounts.models import User

logger = logging.getLogger(__name__)


class AccountAdapter(DefaultAccountAdapter):
    """Every change of a password goes through `set_password`, whichever page it came from."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def set_password(self, user: AbstractBaseUser, password: str) -> None:
        assert isinstance(user, User)  # noqa: S101 - AUTH_USER_MODEL
        services.password_set(user=user, password=password, request_id=getattr(self.request, "request_id", ""))

    def get_reset_password_from_key_url(self, key: str) -> str:
        # Not by the Host header, which whoever asks for the link may choose.
        uid, _, token = key.partition("-")
        return str(settings.PUBLIC_URL + reverse("account_reset_password_from_key", args=[uid, token]))

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send, or log why not: an error on the page would tell that the address is known."""
        try:
            super().send_mail(template_prefix, email, context)
        except OSError:  # SMTPException is one
            logger.exception("A mail could not be sent; EMAIL_URL names the server.")

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("home")
