"""Parameters of text classification: what is refused, and that it is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from modelkit.contracts import Footprint
from modelkit.tasks.text_classification.spec import LOOP_ONLY, SPEC, Params


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"learning_rat": 1e-4}, "learning_rat"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 2.5}, "epochs"),
        ({"schedule": "wave"}, "schedule"),
        ({"task": "image_classification"}, "task"),
        ({"method": "instant", "epochs": 5}, "epochs"),
        ({"method": "instant", "learning_rate": 1e-3}, "learning_rate"),
        ({"epochs": 3, "patience": 3}, "patience"),
    ],
)
def test_nonsense_is_refused_by_name(values: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Params.model_validate(values)
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_instant_says_why_it_refuses_a_setting_of_the_loop() -> None:
    with pytest.raises(ValidationError, match="no training loop"):
        Params(method="instant", label_smoothing=0.2)


def test_every_setting_of_the_loop_exists() -> None:
    assert set(LOOP_ONLY) < set(Params.model_fields)


@pytest.mark.parametrize("preset", SPEC.presets, ids=lambda preset: preset.id)
def test_a_preset_survives_being_stored_whole(preset: Any) -> None:
    params = Params.model_validate(preset.values)
    assert Params.model_validate(params.model_dump(mode="json")) == params


def test_low_memory_updates_as_often_as_balanced() -> None:
    rows = [
        params.batch_size * params.accumulation
        for params in (Params.model_validate(SPEC.preset(name).values) for name in ("balanced", "low_memory"))
    ]
    assert rows[0] == rows[1]


def test_resources_grow_with_the_work() -> None:
    small = Footprint(900, 100, 100, 10, 12.0, 22_000_000, 90_000_000, 2)
    large = Footprint(9000, 1000, 3000, 10, 12.0, 22_000_000, 90_000_000, 2)
    full, instant = Params(), Params(method="instant")
    assert SPEC.resources(full, large).seconds > SPEC.resources(full, small).seconds
    assert SPEC.resources(full, large).seconds > SPEC.resources(instant, large).seconds
    assert SPEC.resources(full, small).memory_bytes > SPEC.resources(instant, small).memory_bytes
