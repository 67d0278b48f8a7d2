"""Uploading in a real browser: what a person chose is not lost when something else was wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apps.datasets.models import DatasetVersion
from tests.apps.jobs.conftest import ready as ready
from tests.ui.test_jobs_browser import until
from tests.ui.test_jobs_browser import visit as visit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


def test_a_refused_upload_keeps_the_chosen_file(ready: Any, browser: Any, visit: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("text,label\nfirst,a\nsecond,b\n")
    visit("/datasets/-/new/")
    browser.find_element("id", "file").send_keys(str(file))
    browser.find_element("name", "name").send_keys("Not A Name")
    browser.find_element("css selector", "form[data-upload] [type=submit]").click()
    until(browser, "document.querySelector('.errorlist')")
    assert browser.execute_script("return document.getElementById('file').files[0].name") == "mine.csv"
    assert browser.find_element("css selector", "[data-file-names]").text == "mine.csv"
    refused = [line["message"] for line in browser.get_log("browser")]
    assert all("422" in message for message in refused), refused
    name = browser.find_element("name", "name")
    assert name.get_attribute("value") == "Not A Name"
    name.clear()
    name.send_keys("mine")
    browser.find_element("css selector", "form[data-upload] [type=submit]").click()
    until(browser, "location.pathname === '/datasets/mine/1/'")
    assert DatasetVersion.objects.get(dataset__name="mine").parts[0]["file_name"] == "mine.csv"
