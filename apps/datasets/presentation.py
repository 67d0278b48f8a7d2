"""How checks, fixes and states of versions are said on pages, in the reader's language.

The stored message is the API's, in English; here the same is said from the numbers that the check carries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from apps.core.wording import told
from apps.datasets.models import DatasetVersion, VersionStatus
from modelkit.data.options import ENCODINGS

CHECK_TITLES: dict[str, str | Promise] = {
    "duplicates": gettext_lazy("Duplicates"),
    "conflicts": gettext_lazy("Conflicts"),
    "leaks": gettext_lazy("Leaks across splits"),
    "rare_classes": gettext_lazy("Rare classes"),
    "split_coverage": gettext_lazy("Classes in every split"),
    "imbalance": gettext_lazy("Balance of classes"),
    "empty_rows": gettext_lazy("Empty rows"),
    "lengths": gettext_lazy("Lengths"),
    "empty_labels": gettext_lazy("Missing labels"),
    "ragged_rows": gettext_lazy("Ragged rows"),
    "encoding_damage": gettext_lazy("Broken characters"),
    "spilled_cells": gettext_lazy("Spilled cells"),
    "malformed_rows": gettext_lazy("Malformed lines"),
}

FIX_TITLES: dict[str, str | Promise] = {
    "drop_duplicates": gettext_lazy("Drop duplicates"),
    "drop_conflicts": gettext_lazy("Drop conflicting rows"),
    "drop_leaks": gettext_lazy("Drop leaked rows"),
    "drop_empty_rows": gettext_lazy("Drop empty rows"),
    "drop_rare_classes": gettext_lazy("Drop rare classes"),
    "drop_long_rows": gettext_lazy("Drop long rows"),
    "drop_ragged_rows": gettext_lazy("Drop ragged rows"),
    "join_spilled_cells": gettext_lazy("Join spilled cells"),
    "repair_encoding": gettext_lazy("Repair characters"),
}

_HINTS: dict[str, str | Promise] = {
    "duplicates": gettext_lazy("Repeated rows weigh more in training and flatter the scores."),
    "conflicts": gettext_lazy("A model cannot learn both. Correct the classes in the file, or drop the rows."),
    "leaks": gettext_lazy("The test is partly known. The fix drops these rows from train and keeps the test as it is."),
    "rare_classes": gettext_lazy("Add rows to these classes, or drop the classes."),
    "split_coverage": gettext_lazy("Add rows of these classes to the parts that lack them."),
    "imbalance": gettext_lazy("Judge by macro F1 rather than accuracy, or turn on class weights."),
    "empty_rows": gettext_lazy("A row without text teaches only how often its class occurs."),
    "lengths": gettext_lazy("Training cuts long texts off at the maximum length."),
    "empty_labels": gettext_lazy("Fill in the labels in the file and upload it as a new version."),
    "ragged_rows": gettext_lazy("Cells too many are ignored, missing ones empty. Quote cells that hold the delimiter."),
    "encoding_damage": gettext_lazy("Repair what can be undone, or export the file again in UTF-8."),
    "spilled_cells": gettext_lazy("Texts were broken at the delimiter. Join them, or leave the rest out."),
    "malformed_rows": gettext_lazy("Correct these lines and upload the file as a new version."),
}

SEVERITIES: dict[str, str | Promise] = {
    "pass": gettext_lazy("Passed"),
    "warn": gettext_lazy("Warning"),
    "fail": gettext_lazy("Problem"),
}

SPLIT_TITLES: dict[str, str | Promise] = {
    "train": gettext_lazy("Train"),
    "validation": gettext_lazy("Validation"),
    "test": gettext_lazy("Test"),
}

ENCODING_REASONS: dict[str, str | Promise] = {
    "bom": gettext_lazy("from its byte order mark"),
    "valid": gettext_lazy("the whole file is valid"),
    "statistics": gettext_lazy("from the characters it gives"),
    "declared": gettext_lazy("as declared"),
}

DELIMITER_TITLES: dict[str, str | Promise] = {
    ",": gettext_lazy("comma"),
    "\t": gettext_lazy("tab"),
    ";": gettext_lazy("semicolon"),
    "|": gettext_lazy("vertical bar"),
}


@dataclass(frozen=True)
class CheckView:
    """A check as its card shows it."""

    code: str
    title: str
    severity: str
    severity_title: str
    message: str
    hint: str
    fix: str | None
    fix_title: str
    columns: list[str]
    rows: list[list[Any]]
    count: int

    @property
    def more(self) -> int:
        """Examples that are not shown."""
        return max(0, self.count - len(self.rows))


def check_view(check: dict[str, Any]) -> CheckView:
    """A stored check, in the reader's language."""
    code = check["code"]
    columns = list(dict.fromkeys(key for example in check["examples"] for key in example))
    return CheckView(
        code=code,
        title=str(CHECK_TITLES.get(code, code)),
        severity=check["severity"],
        severity_title=str(SEVERITIES[check["severity"]]),
        message=_message(code, check.get("values") or {}, check["message"]),
        hint=str(_HINTS.get(code, "")) if check["severity"] != "pass" else "",
        fix=check["fix"],
        fix_title=str(FIX_TITLES.get(check["fix"] or "", "")),
        columns=[str(_COLUMNS.get(column, column)) for column in columns],
        rows=[[_cell(told(example.get(column))) for column in columns] for example in check["examples"]],
        count=check["count"],
    )


_COLUMNS: dict[str, str | Promise] = {
    "text": gettext_lazy("Text"),
    "label": gettext_lazy("Class"),
    "labels": gettext_lazy("Classes"),
    "split": gettext_lazy("Split"),
    "splits": gettext_lazy("Splits"),
    "rows": gettext_lazy("Rows"),
    "file": gettext_lazy("File"),
    "line": gettext_lazy("Line"),
    "repaired": gettext_lazy("Repaired"),
    "reason": gettext_lazy("Reason"),
    "position": gettext_lazy("Row in file"),
    "row_id": gettext_lazy("Row"),
    "characters": gettext_lazy("Characters"),
    "train": gettext_lazy("Train"),
    "validation": gettext_lazy("Validation"),
    "test": gettext_lazy("Test"),
}


def _cell(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _message(code: str, values: dict[str, Any], fallback: str) -> str:
    n = int(values.get("count", 0))
    numbers = {"n": f"{n:,}"}
    match code:
        case "duplicates":
            some = ngettext(
                "%(n)s row repeats the text and class of another row.",
                "%(n)s rows repeat the text and class of another row.",
                n,
            )
            return some % numbers if n else _("No row repeats another.")
        case "conflicts":
            some = ngettext(
                "%(n)s text carries more than one class (%(rows)s rows).",
                "%(n)s texts carry more than one class (%(rows)s rows).",
                n,
            )
            return some % {**numbers, "rows": f"{values.get('rows', 0):,}"} if n else _("No text has two classes.")
        case "leaks":
            some = ngettext("%(n)s text stands in more than one split.", "%(n)s texts stand in more than one split.", n)
            none = _("No text stands in two splits.")
            if not values.get("splits_given", True):
                none = _("Splits are made by text, so none can leak.")
            return some % numbers if n else none
        case "rare_classes":
            numbers["needed"] = str(values.get("needed", ""))
            some = ngettext(
                "%(n)s class has fewer than %(needed)s rows.", "%(n)s classes have fewer than %(needed)s rows.", n
            )
            return (some if n else _("Every class has at least %(needed)s rows.")) % numbers
        case "split_coverage":
            if values.get("untrained"):
                return _("%(n)s classes have no row in train and cannot be learnt.") % {"n": values["untrained"]}
            if values.get("unmeasured"):
                message = _("%(n)s classes have no row in validation or test and cannot be measured there.")
                return message % {"n": values["unmeasured"]}
            return _("Every class is in train, validation and test.")
        case "imbalance":
            message = _("The largest class has %(ratio)s times the rows of the smallest.")
            return message % {"ratio": f"{values.get('ratio', 1):.1f}"}
        case "empty_rows":
            some = ngettext("%(n)s row has no text.", "%(n)s rows have no text.", n)
            return some % numbers if n else _("Every row has text.")
        case "lengths":
            sizes = {key: f"{values.get(key, 0):,}" for key in ("p50", "p95", "max", "tokens")}
            message = (
                _("Half of the texts have up to %(p50)s characters, 95 %% up to %(p95)s, the longest %(max)s.") % sizes
            )
            if n:
                more = _(" %(n)s rows are longer than an encoder reads (about %(tokens)s tokens).")
                message += more % {**numbers, **sizes}
            return message
        case "empty_labels":
            some = ngettext("%(n)s row has no label and is left out.", "%(n)s rows have no label and are left out.", n)
            return some % numbers if n else _("Every row has a label.")
        case "ragged_rows":
            some = ngettext(
                "%(n)s row has more or fewer cells than the header.",
                "%(n)s rows have more or fewer cells than the header.",
                n,
            )
            return some % numbers if n else _("Every row has as many cells as the header.")
        case "encoding_damage":
            some = ngettext(
                "%(n)s row holds characters broken by a wrong conversion.",
                "%(n)s rows hold characters broken by a wrong conversion.",
                n,
            )
            return some % numbers if n else _("No broken characters.")
        case "spilled_cells":
            some = ngettext(
                "%(n)s row goes on in columns without a name.", "%(n)s rows go on in columns without a name.", n
            )
            return some % numbers
        case "malformed_rows":
            some = ngettext(
                "%(n)s line is not a JSON object and is left out.",
                "%(n)s lines are not JSON objects and are left out.",
                n,
            )
            return some % numbers
    return fallback


@dataclass(frozen=True)
class StatusView:
    """The chip of a version: `ready` with a failed check is not quite ready."""

    status: str
    label: str


def status_view(version: DatasetVersion) -> StatusView:
    if version.status == VersionStatus.READY and any(check["severity"] == "fail" for check in version.checks):
        return StatusView("needs_mapping", _("Has problems"))
    return StatusView(version.status, str(VersionStatus(version.status).label))


def files_view(version: DatasetVersion) -> list[dict[str, Any]]:
    """What was detected in each file, in words."""
    shown = []
    for file in version.detected.get("files", []):
        shown.append(
            {
                **file,
                "encoding_title": ENCODINGS.get(file["encoding"], file["encoding"]),
                "encoding_reason": ENCODING_REASONS.get(file["encoding_how"], ""),
                "delimiter_title": DELIMITER_TITLES.get(file["delimiter"] or "", "–"),
                "part_title": SPLIT_TITLES.get(file.get("part", ""), ""),
            }
        )
    return shown
