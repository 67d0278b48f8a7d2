"""Forms of the registry's pages."""

from __future__ import annotations

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.core.forms import ServiceForm


class FolderForm(ServiceForm):
    path = forms.CharField(
        label=_("Folder on the server"), max_length=1000, help_text=_("Absolute path of a Hugging Face folder.")
    )
    title = forms.CharField(label=_("Title"), max_length=200, required=False)
    name = forms.CharField(
        label=_("Name"), max_length=63, required=False, help_text=_("Made from the folder's name if left empty.")
    )
