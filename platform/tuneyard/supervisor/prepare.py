"""What the database needs before the first request: a copy, the migrations, the first workspace and its admin.

Run by the supervisor as a process of its own, so that Django's weight leaves with it.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured

from tuneyard.supervisor.copies import copy_database


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--login-file", type=Path, help="where the first login is left, instead of being printed")
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tuneyard.settings")
    try:
        django.setup()
    except (ImproperlyConfigured, OSError) as error:
        # Where it runs as a container of its own, nobody has read the settings before.
        sys.stderr.write(f"Tuneyard did not start.\n{error}\n")
        return 2
    migrate()
    sync_base_models()
    text = first_login()
    if text and arguments.login_file is None:
        say(text)
    elif text:
        arguments.login_file.touch(mode=0o600)
        arguments.login_file.write_text(text)
    return 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def migrate() -> None:
    """Bring the database to the present schema; an SQLite file with data in it is copied first."""
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        if connection.vendor == "sqlite" and executor.loader.applied_migrations:
            copied = copy_database(Path(str(settings.DATABASES["default"]["NAME"])), Path(settings.HOME) / "backups")
            say(f"The database was copied to {copied}.")
        say(f"Migrating the database: {len(pending)} steps.")
        call_command("migrate", interactive=False, verbosity=0)


def sync_base_models() -> None:
    """At each start, not only after a migration: another Python or package has the bundled models in another place."""
    from django.core.management import call_command

    call_command("base_models_sync", stdout=io.StringIO())


def first_login() -> str:
    """What the command `bootstrap` says: nothing when the installation has its admin already."""
    from django.core.management import call_command

    output = io.StringIO()
    call_command("bootstrap", stdout=output)
    return output.getvalue().strip()


if __name__ == "__main__":
    sys.exit(main())
