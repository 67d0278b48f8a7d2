"""What is taken out of a sampled request, and what stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelkit.serving.plan import Sampling
from modelkit.serving.redaction import MAX_SAMPLE_CHARS, MAX_TEXT_CHARS, Redactor

USUAL = Redactor(Sampling())


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("write to ann.lee+x@mail.example.org!", "write to [email]!"),
        ("请联系ann@example.cn谢谢", "请联系[email]谢谢"),
        ("card 4111 1111 1111 1111 lost", "card [card] lost"),
        ("card 4111-1111-1111-1111.", "card [card]."),
        ("卡号4111111111111111丢了", "卡号[card]丢了"),
        ("call +44 20 7946 0958 now", "call [phone] now"),
        ("call (020) 7946-0958", "call [phone]"),
        ("电话13812345678谢谢", "电话[phone]谢谢"),
        ("I waited 12 days since 2026-01-15 for 500.00", "I waited 12 days since 2026-01-15 for 500.00"),
        ("no numbers here", "no numbers here"),
    ],
)
def test_addresses_and_numbers_inside_texts_are_hidden(text: str, clean: str) -> None:
    assert USUAL.text(text) == clean


def test_a_number_without_its_check_digit_is_no_card_but_may_be_a_phone() -> None:
    only_cards = Redactor(Sampling(patterns=("card",)))
    assert only_cards.text("4111111111111111") == "[card]"
    assert only_cards.text("4111111111111112") == "4111111111111112"
    assert only_cards.text("ann@example.org") == "ann@example.org"


@given(st.text(max_size=40), st.text(max_size=40))
def test_an_address_never_survives_its_surroundings(before: str, after: str) -> None:
    assert "ann.lee@mail.example" not in USUAL.text(f"{before} ann.lee@mail.example.org {after}")


def test_a_cut_leaves_no_part_of_a_number_behind() -> None:
    for shift in range(40):
        text = "x" * (MAX_TEXT_CHARS - 20 + shift) + " 4111 1111 1111 1111 " + "y" * 100
        assert "4111" not in USUAL.text(text)
    assert len(USUAL.text("字" * (MAX_TEXT_CHARS * 3))) <= MAX_TEXT_CHARS


def test_named_fields_are_hidden_wherever_they_are() -> None:
    redactor = Redactor(Sampling(patterns=(), hide_fields=("name", "account.number")))
    given_input = {
        "Name": "Ann",
        "number": 1,
        "account": {"number": 42, "kind": "ann@example.org"},
        "people": [{"name": {"first": "Bo"}, "age": 3}],
    }
    assert redactor.inputs([given_input]) == [
        {
            "Name": "[hidden]",
            "number": 1,
            "account": {"number": "[hidden]", "kind": "ann@example.org"},
            "people": [{"name": "[hidden]", "age": 3}],
        }
    ]


def test_patterns_reach_into_objects_and_outputs_but_not_labels() -> None:
    assert USUAL.inputs([{"note": ["ann@example.org"], "ann@example.org": 1}]) == [{"note": ["[email]"], "[email]": 1}]
    row = {"label": "a@b.cc", "score": 0.5, "scores": {"a@b.cc": 0.5}, "text": "ann@example.org"}
    assert USUAL.outputs([row]) == [{**row, "text": "[email]"}]


def test_whole_inputs_are_hidden_on_request() -> None:
    assert Redactor(Sampling(hide_inputs=True)).inputs(["card", {"a": 1}]) == []


def test_a_sample_is_bounded() -> None:
    kept = USUAL.inputs(["字" * 9_000] * 50)
    assert 0 < sum(map(len, kept)) <= MAX_SAMPLE_CHARS


@pytest.mark.parametrize(
    "bad",
    [
        {"rate": 1.5},
        {"rate": float("nan")},
        {"keep_days": 0},
        {"patterns": ["iban"]},
        {"hide_fields": ["a..b"]},
        {"x": 1},
    ],
)
def test_settings_that_cannot_be_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Sampling.model_validate(bad)
