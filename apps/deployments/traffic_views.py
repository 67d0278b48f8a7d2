"""What people ask of canaries and shadows on an endpoint's page."""

from __future__ import annotations

from django.utils.translation import gettext_lazy

from apps.accounts.models import Role
from apps.deployments import canaries, shadows
from apps.deployments.traffic_forms import canary_of, shadow_of
from apps.deployments.views import endpoint_action

canary_start = endpoint_action(
    canaries.canary_start,
    Role.DEVELOPER,
    gettext_lazy("A canary is started at %(name)s."),
    tab="traffic",
    read=canary_of,
)
canary_pause = endpoint_action(
    canaries.canary_pause, Role.DEVELOPER, gettext_lazy("The canary at %(name)s is held."), tab="traffic"
)
canary_resume = endpoint_action(
    canaries.canary_resume, Role.DEVELOPER, gettext_lazy("The canary at %(name)s rises again."), tab="traffic"
)
canary_promote = endpoint_action(
    canaries.canary_promote, Role.DEVELOPER, gettext_lazy("The canary at %(name)s gets all the traffic."), tab="traffic"
)
canary_abort = endpoint_action(
    canaries.canary_abort, Role.DEVELOPER, gettext_lazy("The canary at %(name)s is taken back."), tab="traffic"
)
shadow_set = endpoint_action(
    shadows.shadow_set,
    Role.DEVELOPER,
    gettext_lazy("Traffic of %(name)s is being copied."),
    tab="traffic",
    read=shadow_of,
)
shadow_end = endpoint_action(
    shadows.shadow_end, Role.DEVELOPER, gettext_lazy("Traffic of %(name)s is copied no more."), tab="traffic"
)
