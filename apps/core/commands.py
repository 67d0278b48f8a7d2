"""The base of management commands that read or write rows: without the tables they say so, and what to do."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor


class DatabaseCommand(BaseCommand):
    """A command that needs the database as this version of Tuneyard knows it."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        _require_schema()
        return super().execute(*args, **options)


def _require_schema() -> None:
    """Raise `CommandError` where the database is out of reach, empty, or of an older version."""
    try:
        executor = MigrationExecutor(connection)
    except OperationalError as error:
        raise CommandError(f"The database {_place()} cannot be opened: {str(error).strip()}") from None
    if not executor.loader.applied_migrations:
        raise CommandError(
            f"The database {_place()} is still empty. Start Tuneyard once (`make run`), which makes its tables; if it "
            "runs with a TUNEYARD_HOME or DATABASE_URL of its own, set the same here."
        )
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise CommandError(
            f"The database {_place()} is from an older version. Start Tuneyard once with this version (`make run`), "
            "which copies and migrates it."
        )


def _place() -> str:
    """The database without its password: a file, or a name with its host."""
    settings = connection.settings_dict
    host = settings.get("HOST")
    return f"{settings['NAME']} on {host}" if host else str(settings["NAME"])
