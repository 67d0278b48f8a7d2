"""`manage.py token_create`: a token without a browser, for automation."""

from __future__ import annotations

from typing import Any

from django.core.management import CommandError
from django.core.management.base import CommandParser

from apps.accounts.auth import Identity
from apps.accounts.models import Membership, Role
from apps.accounts.services import token_create
from apps.core.commands import DatabaseCommand
from apps.core.errors import AppError


class Command(DatabaseCommand):
    help = "Print a new API token, once, as the only line of output."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="User name of the token's owner.")
        parser.add_argument("--workspace", required=True, help="Name of the workspace it opens.")
        parser.add_argument(
            "--role", required=True, choices=Role.values, help="What it may do, at most the owner's role."
        )
        parser.add_argument("--name", required=True, help="What it is for.")
        parser.add_argument("--expires-in-days", type=int, default=None, help="Days until it ends; never if left out.")

    def handle(self, *args: Any, **options: Any) -> None:
        membership = (
            Membership.objects.select_related("user", "workspace")
            .filter(user__username=options["user"], workspace__name=options["workspace"])
            .first()
        )
        if membership is None:
            raise CommandError(f"{options['user']} is no member of a workspace named {options['workspace']}.")
        by = Identity(membership.user, membership.workspace, Role(membership.role))
        try:
            _row, plain = token_create(
                by=by, name=options["name"], role=Role(options["role"]), expires_in_days=options["expires_in_days"]
            )
        except AppError as error:
            raise CommandError(error.message) from None
        self.stdout.write(plain)
