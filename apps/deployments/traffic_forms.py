"""Forms of canaries and shadows; what they mean is decided by the services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from pydantic import ValidationError

from apps.core.errors import Invalid
from apps.core.forms import ServiceForm
from apps.deployments.canaries import STEP_S, STEPS
from apps.deployments.judging import Bounds
from apps.deployments.models import Endpoint
from apps.registry.models import ModelVersion


class _CandidateForm(ServiceForm):
    """A version, or a revision of the endpoint that has no traffic."""

    candidate = forms.ChoiceField(label=_("Version"))
    name = forms.CharField(
        label=_("Name"), max_length=60, required=False, help_text=_("What you call the revision, such as candidate.")
    )

    #: Two of these forms are on one page.
    id_stem = "candidate"

    def __init__(self, endpoint: Endpoint, data: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(data, auto_id=f"id_{self.id_stem}_%s", **kwargs)
        versions = ModelVersion.objects.filter(model__workspace=endpoint.workspace, model__task=endpoint.task)
        serving = {revision.model_version_id for revision in endpoint.revisions.all() if revision.weight == 100}
        revisions = [revision for revision in endpoint.revisions.all() if not revision.weight]
        # What may follow what answers now: its own model first, the newest version first.
        own = {revision.model_version.model_id for revision in endpoint.revisions.all() if revision.weight}
        offered = sorted(
            versions.select_related("model").order_by("-pk"), key=lambda version: version.model_id not in own
        )
        self.fields["candidate"].choices = [  # type: ignore[attr-defined]
            *((version.ref, version.ref) for version in offered if version.pk not in serving),
            *(
                (
                    f"#{revision.number}",
                    gettext("Revision %(number)s (%(ref)s)")
                    % {"number": revision.number, "ref": revision.model_version.ref},
                )
                for revision in revisions
            ),
        ]

    @property
    def has_candidates(self) -> bool:
        return bool(self.fields["candidate"].choices)  # type: ignore[attr-defined]


class CanaryForm(_CandidateForm):
    """Course and bounds; the bounds' fields, limits and texts are those of `judging.Bounds`."""

    id_stem = "canary"
    steps = forms.CharField(label=_("Steps"), help_text=_("Rising shares in percent; the last one is 100."))
    step_s = forms.CharField(
        label=_("Seconds at each step"), widget=forms.NumberInput(attrs={"min": 1}), help_text=_("At least so long.")
    )

    def __init__(self, endpoint: Endpoint, data: Mapping[str, Any] | None = None) -> None:
        defaults = {"steps": ", ".join(str(step) for step in STEPS), "step_s": STEP_S, **Bounds().model_dump()}
        super().__init__(endpoint, data, initial=defaults)
        for name, known in Bounds.model_json_schema()["properties"].items():
            number = forms.NumberInput(attrs={"min": known["minimum"], "max": known["maximum"], "step": "any"})
            self.fields[name] = forms.CharField(
                label=gettext(known["title"]), help_text=gettext(known["description"]), widget=number
            )


class ShadowForm(_CandidateForm):
    """What to copy the traffic to, how much of it, and whether to keep texts."""

    id_stem = "shadow"
    percent = forms.CharField(
        label=_("Share of the requests in percent"),
        initial=100,
        widget=forms.NumberInput(attrs={"min": 1, "max": 100}),
    )
    keep_inputs = forms.BooleanField(
        label=_("Keep the texts on which the two differ"), initial=True, required=False,
        help_text=_("Otherwise only their labels are kept."),
    )  # fmt: skip


def canary_of(data: QueryDict) -> dict[str, Any]:
    """What the form asks for; raises Invalid for what is no number."""
    try:
        steps = [int(part) for part in str(data.get("steps", "")).replace("%", "").replace(",", " ").split()]
        step_s = int(str(data.get("step_s", "")))
    except ValueError:
        raise Invalid(
            gettext("Steps and seconds are whole numbers."), hint=gettext("An example is 5, 25, 50, 100.")
        ) from None
    try:
        bounds = Bounds.model_validate({name: data[name] for name in Bounds.model_fields if data.get(name)})
    except ValidationError as error:
        known = Bounds.model_json_schema()["properties"]
        fields = {}
        for item in error.errors():
            name = str(item["loc"][0])
            range_ = {"title": gettext(known[name]["title"]), "low": known[name]["minimum"]}
            range_["high"] = known[name]["maximum"]
            fields[f"bounds.{name}"] = gettext("%(title)s: give a number from %(low)s to %(high)s.") % range_
        raise Invalid(
            gettext("The canary cannot be started so."), fields=fields, hint=gettext("Correct the named fields.")
        ) from None
    return {**_candidate(data), "steps": steps, "step_s": step_s, "bounds": bounds}


def shadow_of(data: QueryDict) -> dict[str, Any]:
    """What the form asks for; raises Invalid for a share that is no number."""
    try:
        percent = int(str(data.get("percent", "")))
    except ValueError:
        raise Invalid(gettext("A share is a whole number of percent."), hint=gettext("An example is 100.")) from None
    return {**_candidate(data), "percent": percent, "keep_inputs": "keep_inputs" in data}


def _candidate(data: QueryDict) -> dict[str, Any]:
    chosen = str(data.get("candidate", ""))
    number = chosen.removeprefix("#")
    if chosen.startswith("#") and number.isdigit() and len(number) < 10:
        return {"revision": int(number), "name": data.get("name", "")}
    return {"model": chosen, "name": data.get("name", "")}
