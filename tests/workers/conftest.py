"""One running stack for the tests of this folder; a test that kills a part starts it again.

Every test runs on SQLite, and among the services on a real PostgreSQL too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.services.postgres import postgres_server
from tests.workers.stack import Stack

PARTS = ("redis", "mlflow", "web", "launcher", "cpu", "gpu", "beat")


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def make_stack(request: pytest.FixtureRequest) -> Iterator[Callable[[], Stack]]:
    """Makes stacks, each with a home and a database of its own, and nothing running yet."""
    with ExitStack() as closing:
        server = closing.enter_context(postgres_server()) if request.param == "postgresql" else None

        def make() -> Stack:
            stack = Stack(database_url=server.create() if server else "")
            closing.callback(stack.close)
            stack.prepare()
            return stack

        yield make


@pytest.fixture(scope="session")
def running_stack(make_stack: Callable[[], Stack]) -> Stack:
    stack = make_stack()
    stack.start(*PARTS)
    return stack


@pytest.fixture
def stack(running_stack: Stack) -> Stack:
    """The stack, whole: what the test before killed is started again."""
    running_stack.start(*(name for name in PARTS if name not in running_stack.processes))
    return running_stack
