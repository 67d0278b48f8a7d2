"""Stored reasons in the reader's language; what was stored before as plain text stays as it is."""

from __future__ import annotations

import pytest
from django.utils.translation import override

from apps.core.errors import Conflict
from apps.core.wording import SentenceField, told
from modelkit.wording import Said, pack, say

SAID = say("The rows of {ref} are no longer in storage.", ref="tickets@1")
OTHER_WORDS = "存储里已经没有 {ref} 的行。"


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog of one sentence and one part of a sentence: the test is of the way, not of the words."""
    known = {SAID.template: OTHER_WORDS, "was killed": "被终止了", "broken {name}": "坏 {nome}"}
    monkeypatch.setattr("apps.core.wording.gettext", lambda text: known.get(text, text))


@pytest.mark.usefixtures("chinese")
def test_sentences_are_worded_at_any_depth() -> None:
    stored = pack({"error": {"message": SAID, "code": "dataset_gone"}, "notices": [SAID]})
    worded = "存储里已经没有 tickets@1 的行。"
    assert told(stored) == {"error": {"message": worded, "code": "dataset_gone"}, "notices": [worded]}


@pytest.mark.usefixtures("chinese")
def test_a_sentence_inside_a_sentence_is_worded_too() -> None:
    assert told(say("It {how}.", how=say("was killed"))) == "It 被终止了."


@pytest.mark.usefixtures("chinese")
def test_words_that_people_wrote_are_not_translated() -> None:
    assert told("was killed") == "was killed"
    assert told(say("It {how}.", how="was killed")) == "It was killed."


@pytest.mark.usefixtures("chinese")
def test_a_wrong_translation_is_shown_unfilled_rather_than_failing() -> None:
    assert told(say("broken {name}", name="x")) == "坏 {nome}"


def test_an_empty_sentence_is_empty_in_every_language() -> None:
    with override("zh-hans"):
        assert told(say("")) == ""


@pytest.mark.parametrize("text", ["", "plain", '{"say": half a', '{"say": "x"}', "a\x00b", "it's {braces}"])
def test_the_field_keeps_other_text_as_it_is(text: str) -> None:
    field = SentenceField()
    again = field.from_db_value(field.get_prep_value(text), None, None)
    assert again == text.replace("\x00", "\ufffd")
    assert not isinstance(again, Said)


def test_the_field_keeps_sentences() -> None:
    field = SentenceField()
    again = field.from_db_value(field.get_prep_value(SAID), None, None)
    assert isinstance(again, Said)
    assert (again, again.template, again.params) == (SAID, SAID.template, SAID.params)
    assert "\x00" not in field.get_prep_value(say("{a}", a="x\x00y"))


@pytest.mark.usefixtures("chinese")
def test_a_refusal_is_worded_for_who_asks_and_kept_for_who_reads_later() -> None:
    error = Conflict(SAID, hint=say("Use {ref}.", ref="b"))
    assert error.message == "存储里已经没有 tickets@1 的行。"
    assert isinstance(error.reason, Said)
    assert error.reason == "The rows of tickets@1 are no longer in storage. Use b."
