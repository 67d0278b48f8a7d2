"""Forms of the endpoint pages; what they mean is decided by the services."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Workspace
from apps.core.errors import Invalid
from apps.core.forms import ServiceForm
from apps.deployments.keeping import MAX_LIMITS
from apps.deployments.models import Endpoint, EndpointKey
from apps.deployments.presenting import PATTERNS, pattern_titles
from apps.deployments.services import SETTINGS
from apps.registry.models import ModelVersion
from modelkit.serving.plan import Sampling


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
            if known["type"] == "boolean":
                self.fields[name] = forms.BooleanField(
                    label=gettext(known["title"]), help_text=gettext(known["description"]), required=False
                )
                continue
            bounds = {"low": f"{known['minimum']:,}", "high": f"{known['maximum']:,}", "usual": f"{known['default']:,}"}
            range_ = gettext("From %(low)s to %(high)s; usually %(usual)s.") % bounds
            number = forms.NumberInput(attrs={"min": known["minimum"], "max": known["maximum"], "step": 1})
            # The service judges the number, for page and API in the same words.
            self.fields[name] = forms.CharField(
                label=gettext(known["title"]), help_text=f"{gettext(known['description'])} {range_}",
                required=False, widget=number,
            )  # fmt: skip


class KeyForm(ServiceForm):
    """A key of an endpoint: a new one, or with `row` the changes of one that exists."""

    name = forms.CharField(label=_("Name"), max_length=100, help_text=_("Which program uses it, e.g. shop-frontend."))
    expires_in_days = forms.IntegerField(
        label=_("Ends in days"), required=False, help_text=_("Counted from now; empty: never.")
    )
    rate_per_minute = forms.IntegerField(
        label=_("Requests per minute"), required=False, help_text=_("Empty: the rate of the endpoint's settings.")
    )
    burst = forms.IntegerField(
        label=_("Requests at once"), required=False, help_text=_("Empty: as many as come in a minute.")
    )
    quota_per_day = forms.IntegerField(
        label=_("Inputs per day"), required=False, help_text=_("Counted from midnight UTC; empty: without end.")
    )

    def __init__(self, *args: Any, row: EndpointKey | None = None, **kwargs: Any) -> None:
        initial: dict[str, Any] = {"expires_in_days": 90}
        if row is not None:
            left = -(-(row.expires_at - timezone.now()).total_seconds() // 86_400) if row.expires_at else None
            initial = {name: getattr(row, name) for name in ("name", *MAX_LIMITS)}
            initial["expires_in_days"] = max(1, int(left)) if left is not None else None
        super().__init__(*args, initial=initial, **kwargs)

    @property
    def limits(self) -> dict[str, int | None]:
        return {name: self.cleaned_data[name] for name in MAX_LIMITS}

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from the key as it was shown; an end that was left alone is not moved."""
        return {name: self.cleaned_data[name] for name in self.changed_data}


def settings_of(data: QueryDict) -> dict[str, Any]:
    """What the settings form changes; an emptied field goes back to its default."""
    given = {
        setting: {name: data.get(name) or None for name in kind.model_fields} for setting, kind in SETTINGS.items()
    }
    return {"title": data.get("title", ""), **given}


class _Checks(forms.CheckboxSelectMultiple):
    """Several boxes under one label; the look of a single box is for the boxes, not for the list of them."""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        context["widget"]["attrs"]["class"] = "checks"
        return context


class SamplingForm(ServiceForm):
    """The request log; texts are those of `modelkit.serving.plan.Sampling`, the share is given in percent."""

    def __init__(self, endpoint: Endpoint, *args: Any, **kwargs: Any) -> None:
        kept = Sampling.model_validate(endpoint.sampling)
        shown = {"rate": f"{kept.rate * 100:g}", "hide_fields": ", ".join(kept.hide_fields)}
        super().__init__(*args, initial=kept.model_dump() | shown, **kwargs)
        self.fields["rate"] = forms.CharField(
            required=False, widget=forms.NumberInput(attrs={"min": 0, "max": 100, "step": "any"})
        )
        self.fields["keep_days"] = forms.CharField(
            required=False, widget=forms.NumberInput(attrs={"min": 1, "max": 365, "step": 1})
        )
        self.fields["hide_inputs"] = forms.BooleanField(required=False)
        self.fields["patterns"] = forms.MultipleChoiceField(
            required=False, widget=_Checks, choices=tuple(PATTERNS.items())
        )
        self.fields["hide_fields"] = forms.CharField(required=False)
        for name, known in Sampling.model_json_schema()["properties"].items():
            self.fields[name].label = gettext(known["title"])
            self.fields[name].help_text = gettext(known["description"])
        self.fields["rate"].label = gettext("Share of requests kept, in percent")
        self.fields["rate"].help_text = gettext(
            "0 keeps none, 100 keeps all. Requests on which the model failed are kept unless this is 0."
        )

    @property
    def patterns_told(self) -> str:
        """The hidden patterns for who may not change them."""
        return pattern_titles(self["patterns"].value())


def sampling_of(data: QueryDict) -> dict[str, Any]:
    """What the form of the request log changes; an emptied number goes back to its default."""
    rate = data.get("rate") or None
    with suppress(ValueError, TypeError):
        # Rounded, so that 7 percent is 0.07 again.
        rate = round(float(rate) / 100, 9)  # type: ignore[arg-type,assignment]
    return {
        "sampling": {
            "rate": rate,
            "keep_days": data.get("keep_days") or None,
            "hide_inputs": "hide_inputs" in data,
            "patterns": data.getlist("patterns"),
            "hide_fields": [name.strip() for name in data.get("hide_fields", "").split(",") if name.strip()],
        }
    }


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
