"""Sentences keep what they were made of: through JSON, pydantic, copies, and numbers that JSON does not know."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from pydantic import BaseModel

from modelkit.errors import UserError
from modelkit.serving.plan import ObservedRevision
from modelkit.wording import TEXT_LIMIT, Said, both, pack, said_by, say, unpack


def test_a_sentence_is_its_english_text() -> None:
    said = say("{count:,} of {file} rows", count=1200, file="a.csv")
    assert said == "1,200 of a.csv rows"
    assert (said.template, said.params) == ("{count:,} of {file} rows", {"count": 1200, "file": "a.csv"})


@pytest.mark.parametrize(
    "said",
    [
        say("Nothing is filled in, not even {this}."),
        say("{name!r} at {share:.0%}", name="it's", share=np.float32(0.25)),
        say("The process {how}.", how=say("ended with status {status}", status=np.int64(3))),
        both(say("One."), say("Two.")),
    ],
)
def test_a_sentence_survives_json_and_copies(said: Said) -> None:
    for again in (unpack(json.loads(json.dumps(pack(said)))), copy.deepcopy(said), pickle.loads(pickle.dumps(said))):  # noqa: S301
        assert isinstance(again, Said)
        assert (str(again), again.template, again.params) == (str(said), said.template, said.params)


def test_pack_and_unpack_reach_every_depth_and_leave_the_rest() -> None:
    value = {"error": {"message": say("Use {ref}.", ref="a@1"), "code": "x"}, "rows": [say("no"), 1, None, "no"]}
    again = unpack(json.loads(json.dumps(pack(value))))
    assert again == value
    assert [isinstance(item, Said) for item in again["rows"]] == [True, False, False, False]


def test_what_json_does_not_know_and_what_is_too_long_becomes_text() -> None:
    said = say("{a} {b} {c}", a=float("nan"), b=np.inf, c="x" * 5000)
    assert json.dumps(pack(said), allow_nan=False)
    assert said.startswith("nan inf xxx")
    assert len(said.params["c"]) == TEXT_LIMIT


def test_a_sentence_that_does_not_fit_its_parameters_is_shown_unfilled() -> None:
    assert unpack({"say": "{gone} and {a}", "with": {"a": 1}}) == "{gone} and {a}"


def test_an_error_carries_template_and_parameters() -> None:
    error = UserError("too_long", "{name} has more than {limit:,} rows.", "Leave out {name}.", name="a", limit=5000)
    assert str(error) == "a has more than 5,000 rows."
    assert pack(error.card())["hint"] == {"say": "Leave out {name}.", "with": {"name": "a"}}
    assert said_by(error) is error.message
    assert said_by(KeyError()) == "KeyError"


def test_a_hint_that_is_a_sentence_keeps_its_own_parameters() -> None:
    error = UserError("x", "{file} is odd.", say("Choose {codec}.", codec="utf-8"), file="a.csv")
    assert pack(error.card())["hint"] == {"say": "Choose {codec}.", "with": {"codec": "utf-8"}}


def test_a_reason_travels_from_the_agent_as_a_sentence_and_an_older_agents_as_text() -> None:
    seen = ObservedRevision(number=1, status="failed", reason=say("Signal {number}.", number=9))
    again = ObservedRevision.model_validate_json(seen.model_dump_json())
    assert isinstance(again.reason, Said)
    assert again == seen
    older = ObservedRevision.model_validate({"number": 1, "status": "failed", "reason": "Signal 9."})
    assert older.reason == "Signal 9."
    with pytest.raises(ValueError, match="not a text"):
        ObservedRevision.model_validate({"number": 1, "status": "failed", "reason": 9})
    assert issubclass(ObservedRevision, BaseModel)
