#!/usr/bin/env python3
"""The translations: compile every `locale/*/LC_MESSAGES/*.po` to its `.mo` with polib, where a machine has no gettext.

With `extract` it first gathers what is to be translated (needs gettext): from code and templates, and from the specs of
tasks and compression methods, whose titles and help texts pages pass through gettext though their files know no Django.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polib

ROOT = Path(__file__).resolve().parent.parent
LANGUAGE = "zh_Hans"
IGNORED = ("var", ".venv", "tests", "node_modules", "static", "build", "docs")


def spec_messages() -> Iterator[tuple[str, str]]:
    """Every text of a spec that a page shows, with the file it comes from."""
    sys.path[:0] = [str(ROOT), str(ROOT / "platform")]
    from modelkit import catalog

    for task in catalog.tasks().values():
        place = f"platform/modelkit/tasks/{task.name}/spec.py"
        texts = [task.title, task.summary]
        texts += [column.title for column in task.columns]
        texts += [text for preset in task.presets for text in (preset.title, preset.summary)]
        texts += [text for metric in task.metrics for text in (metric.title, metric.help)]
        yield from ((text, place) for text in [*texts, *_schema_texts(task.params.model_json_schema())] if text)
    for method in catalog.methods().values():
        place = f"platform/modelkit/compression/{method.name}/spec.py"
        texts = [method.title, method.summary, *_schema_texts(method.params.model_json_schema())]
        yield from ((text, place) for text in texts if text)


def _schema_texts(schema: dict[str, Any]) -> Iterator[str]:
    """Title, help, unit and choices of each field."""
    for field in schema.get("properties", {}).values():
        yield from (str(field[name]) for name in ("title", "description", "unit") if field.get(name))
        yield from (choice for choice in field.get("enum", []) if isinstance(choice, str))


def extract() -> None:
    """Bring the catalog up to date; what is known stays translated."""
    path = ROOT / "locale" / LANGUAGE / "LC_MESSAGES" / "django.po"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {entry.msgid: entry.msgstr for entry in polib.pofile(str(path))} if path.exists() else {}
    ignored = [part for name in IGNORED for part in ("--ignore", name)]
    # Line numbers would change the file with every edit of the code.
    command = ["manage.py", "makemessages", "-l", LANGUAGE, "--no-obsolete", "--no-wrap", "--add-location", "file"]
    subprocess.run([sys.executable, *command, *ignored], cwd=ROOT, check=True)
    catalog = polib.pofile(str(path), wrapwidth=0)
    present = {entry.msgid: entry for entry in catalog}
    for text, place in spec_messages():
        if text not in present:
            present[text] = polib.POEntry(msgid=text, msgstr=known.get(text, ""), occurrences=[(place, "")])
            catalog.append(present[text])
    for entry in catalog:
        # A guess from a similar text is worse than none.
        if entry.fuzzy:
            entry.flags.remove("fuzzy")
            entry.msgstr, entry.msgstr_plural = "", dict.fromkeys(entry.msgstr_plural, "")
            entry.previous_msgid = entry.previous_msgid_plural = None
    catalog.metadata = {
        "Project-Id-Version": "Tuneyard",
        "Language": LANGUAGE,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": "nplurals=1; plural=0;",
    }
    catalog.save(str(path))
    print(f"{len(catalog)} messages, {len(catalog.untranslated_entries())} to be translated: {path.relative_to(ROOT)}")


def compile_all() -> None:
    for po in sorted(ROOT.glob("locale/*/LC_MESSAGES/*.po")):
        polib.pofile(str(po)).save_as_mofile(str(po.with_suffix(".mo")))


if __name__ == "__main__":
    if "extract" in sys.argv[1:]:
        extract()
    compile_all()
