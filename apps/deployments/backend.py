"""The serving back end of this installation."""

from __future__ import annotations

import time

from django.conf import settings

from modelkit.serving.backends.local_process import LocalProcess
from modelkit.serving.plan import ObservedSet

_STALE_S = 15.0


def serving_backend() -> LocalProcess:
    """The embedded one: the agent of this host."""
    return LocalProcess(settings.HOME, settings.SERVING_URL)


def is_fresh(observed: ObservedSet) -> bool:
    """Whether a report tells of now. An older one moves nothing: the agent may be away, and will speak again."""
    return time.time() - observed.updated_at < _STALE_S
