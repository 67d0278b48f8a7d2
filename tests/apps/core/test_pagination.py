"""Lists by keyset: whole, without repeats, unmoved by new rows."""

from __future__ import annotations

import pytest

from apps.accounts.models import Role
from apps.accounts.services import token_create
from tests.personas import Team


def test_pages_hold_everything_once(team: Team) -> None:
    for number in range(7):
        token_create(by=team.owner.identity, name=f"t{number}", role=Role.VIEWER)
    seen: list[str] = []
    cursor = ""
    while True:
        page = team.owner.api("GET", f"/tokens?limit=3{cursor}").json()
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        assert len(page["items"]) == 3
        # New rows come first and shift nothing.
        token_create(by=team.owner.identity, name="meanwhile", role=Role.VIEWER)
        cursor = f"&cursor={page['next']}"
    assert len(seen) == len(set(seen)) == 11


@pytest.mark.parametrize("cursor", ["x", "e30", "IjEi", "-1", "bnVsbA", "MWU5OQ", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk"])
def test_a_made_up_cursor_is_refused(team: Team, cursor: str) -> None:
    answer = team.owner.api("GET", f"/tokens?cursor={cursor}")
    assert answer.status_code == 422
    assert list(answer.json()["error"]["fields"]) == ["cursor"]
