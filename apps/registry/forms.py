"""Forms of the registry's pages: one for each source of base models."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.core.forms import ServiceForm


class _NamedForm(ServiceForm):
    """The words that every import may be given."""

    title = forms.CharField(label=_("Title"), max_length=200, required=False)
    name = forms.CharField(
        label=_("Name"), max_length=63, required=False, help_text=_("Made from the source's name if left empty.")
    )


class HubForm(_NamedForm):
    repo = forms.CharField(
        label=_("Model on the hub"),
        max_length=200,
        help_text=_("organisation/name, as on the model's page."),
        widget=forms.TextInput(attrs={"placeholder": "organisation/name", "spellcheck": "false"}),
    )
    revision = forms.CharField(
        label=_("Revision"),
        max_length=100,
        required=False,
        help_text=_("A branch, tag or commit; the branch main if left empty. The commit is recorded."),
    )
    field_order = ("repo", "revision", "title", "name")


class FolderForm(_NamedForm):
    path = forms.CharField(
        label=_("Folder on the server"), max_length=1000, help_text=_("Absolute path of a Hugging Face folder.")
    )
    field_order = ("path", "title", "name")


class ArchiveForm(_NamedForm):
    """The file itself is received by `uploads.archive_of`; here it is a field to show an error beside."""

    file = forms.FileField(
        label=_("Archive"),
        required=False,
        help_text=_("A .zip or .tar.gz of the model's folder."),
        widget=forms.FileInput(attrs={"accept": ".zip,.tar.gz,.tgz"}),
    )
    field_order = ("file", "title", "name")


class VersionForm(_NamedForm):
    model = forms.ChoiceField(
        label=_("Version"), help_text=_("Compressed variants are not listed: they hold no weights to train further.")
    )
    field_order = ("model", "title", "name")

    def __init__(self, *args: Any, versions: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["model"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101
        field.choices = [(reference, reference) for reference in versions]
