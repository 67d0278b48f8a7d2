from typing import Any

from django.apps import AppConfig


class DeploymentsConfig(AppConfig):
    name = "apps.deployments"
    label = "deployments"

    def ready(self) -> None:
        from apps.accounts.signals import tokens_changed

        tokens_changed.connect(_push_keys, dispatch_uid="deployments.push_keys")


def _push_keys(sender: Any, **_: Any) -> None:
    """The serving port knows tokens by what is pushed to it: a revoked one must stop working there as well."""
    from apps.deployments.changing import desired_changed

    desired_changed()
