"""One running stack for the tests of this folder; a test that kills a part starts it again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workers.stack import Stack

PARTS = ("redis", "mlflow", "web", "launcher", "cpu", "gpu", "beat")


@pytest.fixture(scope="session")
def running_stack() -> Iterator[Stack]:
    stack = Stack()
    try:
        stack.prepare()
        stack.start(*PARTS)
        yield stack
    finally:
        stack.close()


@pytest.fixture
def stack(running_stack: Stack) -> Stack:
    """The stack, whole: what the test before killed is started again."""
    running_stack.start(*(name for name in PARTS if name not in running_stack.processes))
    return running_stack
