"""Forms of the dataset pages; what they mean is decided by the services."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.datasets.models import DatasetVersion
from modelkit import catalog
from modelkit.data.options import ENCODINGS

_DELIMITERS = [
    ("", _("Detect")),
    ("comma", _("Comma")),
    ("tab", _("Tab")),
    ("semicolon", _("Semicolon")),
    ("vertical bar", _("Vertical bar")),
]
_HEADER = [("", _("Detect")), ("true", _("The first row names the columns")), ("false", _("There is no header"))]


class DatasetForm(forms.Form):
    """The noun itself; the files beside it are read by `uploads.parts_of`."""

    name = forms.CharField(
        label=_("Name"),
        max_length=63,
        required=False,
        help_text=_("Lower-case letters, digits and hyphens. Left empty, the file's name is taken."),
    )
    title = forms.CharField(label=_("Title"), max_length=200, required=False)
    task = forms.ChoiceField(label=_("Task"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tasks = catalog.tasks().values()
        self.fields["task"].choices = [(task.name, gettext(task.title)) for task in tasks]  # type: ignore[attr-defined]


class ReadForm(forms.Form):
    """How files are to be read; empty fields are detected."""

    encoding = forms.ChoiceField(label=_("Encoding"), required=False)
    delimiter = forms.ChoiceField(label=_("Delimiter"), required=False, choices=_DELIMITERS)
    header = forms.ChoiceField(label=_("Header"), required=False, choices=_HEADER)
    labels = forms.CharField(
        label=_("Class names"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("One per line, where the file numbers its classes from 0."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        encodings = [("", _("Detect")), *ENCODINGS.items()]
        self.fields["encoding"].choices = encodings  # type: ignore[attr-defined]


class MappingForm(ReadForm):
    """Roles to columns, beside how the files are read."""

    def __init__(self, version: DatasetVersion, *args: Any, **kwargs: Any) -> None:
        self.version = version
        options = version.options
        kwargs.setdefault(
            "initial",
            {
                "encoding": options.get("encoding", ""),
                "delimiter": {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}.get(
                    options.get("delimiter", ""), ""
                ),
                "header": {True: "true", False: "false"}.get(options.get("header"), ""),
                "labels": _label_lines(options.get("labels")),
            },
        )
        super().__init__(*args, **kwargs)
        files = version.detected.get("files") or [{"columns": []}]
        columns = files[0]["columns"]
        roles = {}
        for role in catalog.tasks()[version.dataset.task].columns:
            suggested = (version.detected.get("suggestions") or {}).get(role.role) or [""]
            roles[f"role_{role.role}"] = forms.ChoiceField(
                label=gettext(role.title),
                required=role.required,
                choices=[("", _("Choose a column")), *((column, column) for column in columns)],
                initial=version.mapping.get(role.role, suggested[0]),
            )
        self.fields = {**roles, **self.fields}

    def mapping(self) -> dict[str, str]:
        """Role -> column as chosen."""
        prefix = "role_"
        return {
            name.removeprefix(prefix): value
            for name, value in self.cleaned_data.items()
            if name.startswith(prefix) and value
        }

    def options(self) -> dict[str, Any]:
        """What is declared; an empty field takes an earlier declaration back."""
        data = self.cleaned_data
        return {
            "encoding": data["encoding"] or None,
            "delimiter": data["delimiter"] or None,
            "header": {"true": True, "false": False}.get(data["header"]),
            "labels": [line.strip() for line in data["labels"].splitlines() if line.strip()] or None,
        }


def _label_lines(labels: Any) -> str:
    return "\n".join(labels) if isinstance(labels, list) else ""


def name_from_file(file_name: str) -> str:
    """A dataset's name from a file's: `Tickets 2024.csv` -> `tickets-2024`; empty when nothing is left."""
    stem = file_name.rsplit(".", 1)[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:63].strip("-")
