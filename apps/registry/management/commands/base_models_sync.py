"""`manage.py base_models_sync`: offer the base models of installed packages; for hosts where only workers have them."""

from __future__ import annotations

from typing import Any

from apps.core.commands import DatabaseCommand
from apps.registry.base_models import base_models_sync


class Command(DatabaseCommand):
    help = "Offer the base models that come with Python packages installed here."

    def handle(self, *args: Any, **options: Any) -> None:
        for row in base_models_sync():
            self.stdout.write(f"{row.name}  {row.path}")
