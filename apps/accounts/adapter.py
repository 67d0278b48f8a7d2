"""How allauth behaves here: nobody signs up, since accounts are made by an owner; passwords go through our service."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.urls import reverse

from apps.accounts import services
from apps.accounts.models import User


class AccountAdapter(DefaultAccountAdapter):
    """Every change of a password goes through `set_password`, whichever page it came from."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def set_password(self, user: AbstractBaseUser, password: str) -> None:
        assert isinstance(user, User)  # noqa: S101 - AUTH_USER_MODEL
        services.password_set(user=user, password=password, request_id=getattr(self.request, "request_id", ""))

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("home")
