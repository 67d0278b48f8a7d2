"""Forms of the endpoint pages; what they mean is decided by the services."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.core.errors import Invalid
from apps.core.forms import ServiceForm
from apps.deployments.models import Endpoint
from apps.deployments.services import SETTINGS
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
    goal = forms.ChoiceField(
        label=_("What matters most"),
        required=False,
        choices=[
            ("", _("Live soon: ONNX Runtime, not measured")),
            ("latency", _("Lowest latency")),
            ("throughput", _("Highest throughput")),
            ("exact", _("Exact answers")),
            ("memory", _("Least memory")),
        ],
        help_text=_(
            "With a goal the serving host measures its runtimes for some two seconds each and takes the best "
            "that keeps the answers."
        ),
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


class SettingsForm(ServiceForm):
    """Title, limits and placement; the fields' bounds and texts are those of the models in `modelkit.serving.plan`."""

    title = forms.CharField(label=_("Title"), required=False, help_text=_("Free text, in any language."))

    def __init__(self, endpoint: Endpoint, *args: Any, **kwargs: Any) -> None:
        values = {"title": endpoint.title}
        fields: dict[str, dict[str, Any]] = {}
        for setting, kind in SETTINGS.items():
            values |= kind.model_validate(getattr(endpoint, setting)).model_dump()
            fields |= kind.model_json_schema()["properties"]
        super().__init__(*args, initial=values, **kwargs)
        for name, known in fields.items():
            bounds = {"low": f"{known['minimum']:,}", "high": f"{known['maximum']:,}", "usual": f"{known['default']:,}"}
            range_ = gettext("From %(low)s to %(high)s; usually %(usual)s.") % bounds
            number = forms.NumberInput(attrs={"min": known["minimum"], "max": known["maximum"], "step": 1})
            # The service judges the number, for page and API in the same words.
            self.fields[name] = forms.CharField(
                label=gettext(known["title"]), help_text=f"{gettext(known['description'])} {range_}",
                required=False, widget=number,
            )  # fmt: skip


def settings_of(data: QueryDict) -> dict[str, Any]:
    """What the settings form changes; an emptied field goes back to its default."""
    given = {
        setting: {name: data.get(name) or None for name in kind.model_fields} for setting, kind in SETTINGS.items()
    }
    return {"title": data.get("title", ""), **given}


def traffic_of(data: QueryDict) -> dict[str, Any]:
    """Shares and names from fields `weight-<revision>` and `name-<revision>`, and what keeps callers.

    Raises Invalid for a share that is no whole number.
    """
    shares = {name.removeprefix("weight-"): str(data[name]) for name in data if name.startswith("weight-")}
    names = {key.removeprefix("name-"): str(data[key]) for key in data if key.startswith("name-")}
    sticky = data.get("sticky")
    try:
        return {
            "weights": {int(number): int(value or 0) for number, value in shares.items() if number.isdigit()},
            "names": {int(number): value for number, value in names.items() if number.isdigit()},
            "sticky": f"header:{data.get('sticky-header', '').strip()}" if sticky == "header" else sticky,
        }
    except ValueError:
        raise Invalid(gettext("A share is a whole number of percent."), hint=gettext("Shares add up to 100.")) from None


def candidate_of(data: QueryDict) -> dict[str, Any]:
    """Which measured runtime of which revision; raises Invalid for a form that was not ours."""
    try:
        return {"number": int(str(data["revision"])), "candidate": int(str(data["candidate"]))}
    except (KeyError, ValueError):
        raise Invalid(gettext("There is no such measurement."), hint=gettext("Load the page anew.")) from None
