#!/usr/bin/env python3
"""The translations: compile every `locale/*/LC_MESSAGES/*.po` to its `.mo` with polib, where a machine has no gettext.

With `extract` it first gathers what is to be translated (needs gettext): from code and templates; from the specs of
tasks and compression methods, whose titles and help texts pages pass through gettext though their files know no Django;
and from the sentences that are stored where something happens (`modelkit.wording`) and worded where they are read.
"""

from __future__ import annotations

import ast
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polib

ROOT = Path(__file__).resolve().parent.parent
LANGUAGE = "zh_Hans"
#: Calls that make a sentence, and where among their arguments the templates are.
MAKERS = {"say": (0,), "UserError": (1, 2)}
#: Calls that pass on what a person will read, and where it is: it must come from one of the makers.
TELLERS = {
    "notice": 1,
    "job_notice": "message",
    "Applies": 1,
    "CannotStart": 0,
    "GoldenFailed": 0,
    "create": "reason",
    "job_finish": "reason",
    "job_requeue": "reason",
    "revision_move": "reason",
}
IGNORED = ("var", ".venv", "tests", "node_modules", "static", "build", "docs")


def spec_messages() -> Iterator[tuple[str, str]]:
    """Every text of a spec that a page shows, with the file it comes from."""
    sys.path[:0] = [str(ROOT), str(ROOT / "platform")]
    from modelkit import catalog
    from modelkit.serving import plan

    for task in catalog.tasks().values():
        place = f"platform/modelkit/tasks/{task.name}/spec.py"
        texts = [task.title, task.summary]
        texts += [column.title for column in task.columns]
        texts += [text for preset in task.presets for text in (preset.title, preset.summary)]
        texts += [text for metric in task.metrics for text in (metric.title, metric.help)]
        yield from ((text, place) for text in [*texts, *_schema_texts(task.params.model_json_schema())] if text)
    for settings in (plan.Limits, plan.Placement, plan.Sampling):
        yield from ((text, "platform/modelkit/serving/plan.py") for text in _schema_texts(settings.model_json_schema()))
    for method in catalog.methods().values():
        place = f"platform/modelkit/compression/{method.name}/spec.py"
        texts = [method.title, method.summary, *_schema_texts(method.params.model_json_schema())]
        yield from ((text, place) for text in texts if text)


def _schema_texts(schema: dict[str, Any]) -> Iterator[str]:
    """Title, help, unit and choices of each field."""
    for field in schema.get("properties", {}).values():
        yield from (str(field[name]) for name in ("title", "description", "unit") if field.get(name))
        yield from (choice for choice in field.get("enum", []) if isinstance(choice, str))


def sentences() -> Iterator[tuple[str, str]]:
    """Every template of a stored sentence, with the file it is in. Refuses one that is put together at run time."""
    for folder in ("platform/modelkit", "workers", "apps"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            place = path.relative_to(ROOT).as_posix()
            yield from ((text, place) for text in Sentences(ast.parse(path.read_text()), place).found)


class Sentences(ast.NodeVisitor):
    """Reads the templates off the calls in one file; raises ValueError, naming the line, where that cannot be done."""

    def __init__(self, tree: ast.Module, place: str) -> None:
        self.found: list[str] = []
        self._place = place
        self._assigned: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        self._assigned.setdefault(target.id, []).append(node.value)
        self.visit(tree)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in MAKERS:
            texts = [text for place in MAKERS[name] for text in self._templates(_argument(node, place))]
            given = {keyword.arg for keyword in node.keywords} - {"field"}
            named = {field for text in texts for field in _fields(text)}
            if texts and given != named:
                raise ValueError(f"{self._place}:{node.lineno}: the template names {named}, given are {given}")
            self.found += [text for text in texts if text]
        elif name in TELLERS and any(self._templates(_argument(node, TELLERS[name]))):
            raise ValueError(f"{self._place}:{node.lineno}: wrap the text in say(), so that it can be translated")
        self.generic_visit(node)

    def _templates(self, node: ast.expr | None) -> list[str]:
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.IfExp(body=first, orelse=second):
                return self._templates(first) + self._templates(second)
            case ast.Name(id=name):
                return [text for value in self._assigned.get(name, ()) for text in self._templates(value)]
            case ast.JoinedStr():
                raise ValueError(f"{self._place}:{node.lineno}: name the parts of the text instead of an f-string")
        return []


def _argument(node: ast.Call, place: int | str) -> ast.expr | None:
    if isinstance(place, int):
        return node.args[place] if len(node.args) > place else None
    return next((keyword.value for keyword in node.keywords if keyword.arg == place), None)


def _fields(template: str) -> set[str]:
    """The names in a template. Without parameters braces are text, e.g. an example of JSON, and no names."""
    if not re.search(r"\{\w+[!:}]", template):
        return set()
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def extract() -> None:
    """Bring the catalog up to date; what is known stays translated."""
    path = ROOT / "locale" / LANGUAGE / "LC_MESSAGES" / "django.po"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {entry.msgid: entry.msgstr for entry in polib.pofile(str(path))} if path.exists() else {}
    # First, since this may refuse: the catalog on disk has lost these once it has been gathered from the code.
    gathered = [*spec_messages(), *sentences()]
    ignored = [part for name in IGNORED for part in ("--ignore", name)]
    # Line numbers would change the file with every edit of the code.
    command = ["manage.py", "makemessages", "-l", LANGUAGE, "--no-obsolete", "--no-wrap", "--add-location", "file"]
    subprocess.run([sys.executable, *command, *ignored], cwd=ROOT, check=True)
    catalog = polib.pofile(str(path), wrapwidth=0)
    present = {entry.msgid: entry for entry in catalog}
    for text, place in gathered:
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
