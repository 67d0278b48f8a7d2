"""Forms of the settings pages. What is allowed is decided by the services; a refusal goes back beside its field."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import Role
from apps.core.forms import ServiceForm


class ProfileForm(ServiceForm):
    language = forms.ChoiceField(label=_("Language"), required=False)
    theme = forms.ChoiceField(
        label=_("Theme"), choices=[("auto", _("As the system")), ("light", _("Light")), ("dark", _("Dark"))]
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["language"].choices = [("", _("As the browser")), *settings.LANGUAGES]  # type: ignore[attr-defined]


class EmailForm(ServiceForm):
    email = forms.EmailField(
        label=_("E-mail"), required=False, help_text=_("For signing in, and for resetting a forgotten password.")
    )
    password = forms.CharField(
        label=_("Present password"), widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )


class MemberForm(ServiceForm):
    username = forms.CharField(label=_("User name"), max_length=150)
    email = forms.EmailField(label=_("E-mail"), required=False, help_text=_("For resetting a forgotten password."))
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.DEVELOPER)


class TokenForm(ServiceForm):
    name = forms.CharField(label=_("Name"), max_length=100, help_text=_("What it is for, e.g. nightly-retrain."))
    role = forms.ChoiceField(label=_("Role"))
    expires_in_days = forms.TypedChoiceField(
        label=_("Ends"),
        required=False,
        initial="90",
        coerce=int,
        empty_value=None,
        choices=[("30", _("in 30 days")), ("90", _("in 90 days")), ("365", _("in a year")), ("", _("never"))],
    )

    def __init__(self, *args: Any, highest: Role, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        allowed = [(role.value, role.label) for role in Role if highest.allows(role)]
        self.fields["role"].choices = allowed  # type: ignore[attr-defined]


class WorkspaceForm(ServiceForm):
    title = forms.CharField(label=_("Title"), max_length=200, help_text=_("In any language."))
    name = forms.CharField(
        label=_("Name"), max_length=63, help_text=_("For addresses: lower-case letters, digits and hyphens.")
    )
