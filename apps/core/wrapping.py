"""`functools.wraps` for API functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any


def wraps_api(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Like `functools.wraps`, and keep the signature with its annotations evaluated.

    ninja evaluates annotations written as strings (`from __future__ import annotations`) in the module of the outermost
    function, which for a decorated one is the decorator's.
    """

    def decorate(wrapper: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = wraps(function)(wrapper)
        wrapped.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
        return wrapped

    return decorate
