"""Metrics and their differences, as every page says them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

from apps.core.templatetags.ui import difference, improved, measure


@pytest.mark.parametrize(
    ("value", "against", "unit", "said"),
    [
        (0.918, 0.92, "fraction", "−0.2 pp"),
        (0.95, 0.922, "fraction", "+2.8 pp"),
        (0.92004, 0.92, "fraction", "0.0 pp"),
        (0.91996, 0.92, "fraction", "0.0 pp"),
        (3.0, 8.0, "ms", "−62.5 %"),
        (23_000_000, 92_000_000, "bytes", "−75.0 %"),
        (250.0, 100.0, "rows/s", "+150.0 %"),
        (5.0, 0.0, "ms", "–"),
        (0.4, 0.5, "nats", "−0.1"),
        (0.5, 0.5, "", "0"),
        (None, 0.5, "fraction", "–"),
        (0.5, None, "bytes", "–"),
    ],
)
def test_a_difference_is_said_one_way(value: float | None, against: float | None, unit: str, said: str) -> None:
    assert difference(value, against, unit) == said


@pytest.mark.parametrize(
    ("value", "against", "unit", "better"),
    [
        (0.95, 0.922, "fraction", True),
        (0.918, 0.92, "fraction", False),
        (0.9204, 0.92, "fraction", None),
        (0.9196, 0.92, "fraction", None),
        (1000.3, 1000.0, "bytes", None),
        (3.0, 8.0, "ms", False),
        (5.0, 0.0, "ms", None),
        (0.5, 0.5, "nats", None),
        (None, 0.5, "fraction", None),
    ],
)
def test_better_is_what_is_shown_as_a_difference(
    value: float | None, against: float | None, unit: str, better: bool | None
) -> None:
    assert improved(value, against, unit) is better
    turned = improved(value, against, unit, higher_is_better=False)
    assert turned is (None if better is None else not better)


def test_no_template_colours_a_difference_by_itself() -> None:
    folder = Path(settings.BASE_DIR) / "templates"
    own = [str(path) for path in folder.rglob("*.html") if re.search(r"\bdelta\s*[<>]", path.read_text())]
    assert own == []


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.926, "fraction", "92.6 %"),
        (23_147_865, "bytes", "23.1 MB"),
        (28.52, "ms", "28.5 ms"),
        (0.41234, "nats", "0.412"),
        (1234.5, "rows/s", "1234"),
        (0.00012345, "", "0.0001234"),
        (None, "ms", "–"),
    ],
)
def test_a_measure_reads_by_its_unit(value: float | None, unit: str, said: str) -> None:
    assert measure(value, unit) == said


def test_no_template_makes_a_difference_of_its_own() -> None:
    folder = Path(settings.BASE_DIR) / "templates"
    own = [str(path) for path in folder.rglob("*.html") if re.search(r"\.delta\s*\|", path.read_text())]
    assert own == []
