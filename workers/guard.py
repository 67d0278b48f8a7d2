"""What every task is wrapped in: a row that is gone is no error, and a failure is logged whole."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import InterfaceError, OperationalError, close_old_connections

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """Log what goes wrong in a task and swallow it: truth is in the database, and a sweep will look again."""

    @wraps(function)
    def guard(*args: P.args, **kwargs: P.kwargs) -> R | None:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        except ObjectDoesNotExist as error:
            logger.warning("%s%r: nothing to do, %s", function.__name__, args, error)
        except (OperationalError, InterfaceError) as error:
            logger.error(
                "%s%r: the database cannot be reached (%s); the next sweep tries again.", function.__name__, args, error
            )
        except Exception:
            logger.exception("%s%r failed.", function.__name__, args)
        finally:
            close_old_connections()
        return None

    return guard
