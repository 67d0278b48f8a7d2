"""The base of every form that hands its values to a service."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _

from apps.core.errors import AppError


class ServiceForm(forms.Form):
    """A form that shows a service's refusal beside the fields it names, with the hint."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""

    def refuse(self, error: AppError) -> None:
        """Put the refusal on the form. A path such as `source.path` belongs to the field of its last part."""
        # Beside the field itself, to be told to correct the named fields helps nobody.
        hint = "" if error.hint == _("Correct the named fields.") else error.hint
        named = False
        for path, message in error.fields.items():
            field = path.rsplit(".", 1)[-1]
            if field in self.fields:
                self.add_error(field, f"{message} {hint}".strip())
                named = True
        if not named:
            self.add_error(None, f"{error.message} {error.hint}".strip())
