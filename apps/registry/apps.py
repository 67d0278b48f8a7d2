from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


def _sync(sender: Any, **kwargs: Any) -> None:
    from apps.registry.base_models import base_models_sync

    base_models_sync()


class RegistryConfig(AppConfig):
    name = "apps.registry"
    label = "registry"

    def ready(self) -> None:
        # After each start's migration, so that an upgraded package is found under its new path.
        post_migrate.connect(_sync, sender=self)
