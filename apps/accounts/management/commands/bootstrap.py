"""`manage.py bootstrap`: make a new installation usable; on an old one it changes nothing."""

from __future__ import annotations

import os
from typing import Any

from django.core.management import CommandError, call_command

from apps.accounts.services import installation_bootstrap
from apps.core.commands import DatabaseCommand
from apps.core.errors import AppError


class Command(DatabaseCommand):
    help = "Make the workspace `default` and the user `admin` (TUNEYARD_ADMIN_PASSWORD, else a generated password)."

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("createcachetable", verbosity=0)
        try:
            made = installation_bootstrap(password=os.environ.get("TUNEYARD_ADMIN_PASSWORD") or None)
        except AppError as error:
            raise CommandError(f"TUNEYARD_ADMIN_PASSWORD: {error.message}") from None
        if not made.created:
            return
        self.stdout.write(f"User:     {made.username}")
        if made.password:
            self.stdout.write(f"Password: {made.password}   (shown once, to be changed at the first sign-in)")
