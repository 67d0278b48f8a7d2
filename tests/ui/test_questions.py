"""Nothing that cannot be undone happens on one click: the page asks first, and says what will happen to whom."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from tests.apps.jobs.conftest import ready as ready
from tests.architecture.conftest import ROOT
from tests.personas import Team
from tests.ui import jobs

pytestmark = pytest.mark.django_db(transaction=True)

FORM = re.compile(r"<form[^>]*\baction=\"\{% url '([a-z_]+)'")
#: Last words of the names of addresses that end something. `account_...` is what a person asks for by e-mail.
ENDS = re.compile(r"(?!account_)\w+_(cancel|delete|forget|remove|reset_password|revoke|stop)")
QUESTION = re.compile(
    r"<dialog[^>]* id=\"([^\"]+)\".*?<form method=\"post\" action=\"([^\"]+)\">.*?<p [^>]*>(.*?)</p>", re.S
)


def questions(page: str) -> dict[str, str]:
    """Of a page: what each dialog tells, by the address that it posts to. Each has a button that opens it."""
    found = QUESTION.findall(page)
    assert all(f'data-open-dialog="{key}"' in page for key, _, _ in found)
    assert len({key for key, _, _ in found}) == len(found)
    return {address: unescape(" ".join(told.split())) for _, address, told in found}


def test_no_template_ends_anything_without_its_question() -> None:
    posts = [
        (path.relative_to(ROOT).as_posix(), name)
        for path in (ROOT / "templates").rglob("*.html")
        for name in FORM.findall(path.read_text())
    ]
    assert len(posts) > 30
    assert [(path, name) for path, name in posts if ENDS.fullmatch(name)] == []


@pytest.mark.parametrize("name", ["member_remove", "member_reset_password", "endpoint_stop", "job_cancel"])
def test_the_search_would_find_one(name: str) -> None:
    (found,) = FORM.findall(f'<form class="mt-3" method="post" action="{{% url \'{name}\' row.name %}}">')
    assert ENDS.fullmatch(found)


def test_members_are_asked_about_by_name(team: Team) -> None:
    told = questions(team.owner.browser().get("/settings/members").content.decode())
    name = team.developer.user.username
    assert f"{name} sees nothing of this workspace any more" in told[f"/settings/members/{name}/remove"]
    assert f"The password of {name} ends at once" in told[f"/settings/members/{name}/password"]
    own = team.owner.user.username
    assert "You see nothing of it any more" in told[f"/settings/members/{own}/remove"]
    assert f"/settings/members/{own}/password" not in told


def test_cancelling_a_job_says_what_is_lost(ready: Any) -> None:
    job = jobs.running(ready.developer)
    told = questions(ready.developer.browser().get(f"/jobs/{job.public_id}/").content.decode())
    assert "since its last checkpoint is lost" in told[f"/jobs/{job.public_id}/do/cancel"]
