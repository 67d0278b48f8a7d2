"""Trains each task once for each of its settings; all checks look at the same runs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from modelkit import catalog
from tests.conformance import case as cases
from tests.conformance.case import Case
from tests.tiny.run import Trained, train


class Runs:
    """The runs of a session, made when first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.case = cache(self._case)
        self.trained = cache(self._trained)

    def _case(self, task: str) -> Case:
        return cases.find(task, self.root / task)

    def _trained(self, task: str, setting: str, attempt: str = "first") -> Trained:
        case = self.case(task)
        return train(
            task, self.root / task / f"{setting}-{attempt}", case.dataset, case.base_model, case.settings[setting]
        )


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("conformance"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`task` and `method` take every name that the catalog finds, so that a new folder is tested by being there."""
    if "task" in metafunc.fixturenames:
        metafunc.parametrize("task", sorted(catalog.tasks()))
    if "method" in metafunc.fixturenames:
        metafunc.parametrize("method", sorted(catalog.methods()))
