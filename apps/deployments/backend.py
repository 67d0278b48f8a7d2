"""The serving back end of this installation."""

from __future__ import annotations

from django.conf import settings

from modelkit.serving.backends.local_process import LocalProcess


def serving_backend() -> LocalProcess:
    """The embedded one: the agent of this host."""
    return LocalProcess(settings.HOME, settings.SERVING_URL)
