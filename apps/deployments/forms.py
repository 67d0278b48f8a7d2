"""Forms of the endpoint pages; what they mean is decided by the services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.deployments.models import Endpoint
from apps.registry.models import ModelVersion


class DeployForm(forms.Form):
    """A version, and the endpoint to put it behind: an existing one, or a new one by its name."""

    model = forms.ChoiceField(label=_("Version"))
    endpoint = forms.ChoiceField(
        label=_("Endpoint"), required=False, help_text=_("What answers there now goes on until the version has passed.")
    )
    name = forms.CharField(
        label=_("Name of the new endpoint"),
        max_length=63,
        required=False,
        help_text=_("Lower-case letters, digits and hyphens; part of its address."),
    )

    def __init__(self, workspace: Workspace, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        versions = ModelVersion.objects.filter(model__workspace=workspace).select_related("model").order_by("-pk")
        endpoints = Endpoint.objects.filter(workspace=workspace).order_by("name")
        self.fields["model"].choices = [(version.ref, version.ref) for version in versions]  # type: ignore[attr-defined]
        self.fields["endpoint"].choices = [  # type: ignore[attr-defined]
            ("", _("A new endpoint")),
            *((endpoint.name, endpoint.name) for endpoint in endpoints),
        ]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if not values.get("endpoint") and not values.get("name"):
            self.add_error("name", _("Choose an endpoint, or give a new one its name."))
        return values


class TryForm(forms.Form):
    """One text to ask about."""

    text = forms.CharField(
        label=_("Text"), max_length=20_000, strip=False, widget=forms.Textarea(attrs={"rows": 3, "data-try": ""})
    )


def traffic_of(data: Any) -> dict[int, int]:
    """Shares from fields `weight-<revision>`; raises ValueError for one that is no whole number."""
    return {
        int(name.removeprefix("weight-")): int(value or 0)
        for name, value in data.items()
        if name.startswith("weight-") and name.removeprefix("weight-").isdigit()
    }
