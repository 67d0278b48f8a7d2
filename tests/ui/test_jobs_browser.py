"""The pages in a real browser: the wizard answers while one types, charts are drawn, logs are followed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings

from apps.jobs.models import Job
from tests.apps.jobs.conftest import ready as ready
from tests.ui import jobs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]


@pytest.fixture
def visit(browser: Any, live_server: Any, ready: Any) -> Any:
    """Open a page as the developer."""
    session = ready.developer.browser().cookies[settings.SESSION_COOKIE_NAME].value
    browser.get(f"{live_server.url}/accounts/login/")
    browser.add_cookie({"name": settings.SESSION_COOKIE_NAME, "value": session, "path": "/"})

    def go(path: str) -> None:
        browser.get(f"{live_server.url}{path}")

    return go


def until(browser: Any, script: str) -> Any:
    """Wait for a script to answer something true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 30).until(lambda _: browser.execute_script(f"return {script}"))


def test_the_wizard_reviews_while_one_types_and_starts_once(ready: Any, browser: Any, visit: Any) -> None:
    visit("/jobs/new?preset=balanced")
    until(browser, "document.querySelector('#review .chip-good')")
    browser.execute_script("document.querySelector('#view-advanced').click()")
    field = browser.find_element("id", "param-batch_size")
    field.clear()
    field.send_keys("0")
    until(browser, "document.querySelector('#note-batch_size.is-wrong') && document.querySelector('.start').disabled")
    field.clear()
    field.send_keys("16")
    until(
        browser, "document.querySelector('#note-batch_size.is-changed') && !document.querySelector('.start').disabled"
    )
    assert browser.switch_to.active_element == field
    assert '"batch_size": 16' in browser.find_element("css selector", "#review pre").text
    browser.execute_script("const b = document.querySelector('.start'); b.click(); b.click()")
    until(browser, "location.pathname.match('^/jobs/[a-z0-9]{12}/$') && document.querySelector('.toast-note')")
    assert "Queued (#1)" in browser.find_element("css selector", ".toast-note").text
    assert Job.objects.get().spec["params"]["batch_size"] == 16


def test_another_preset_swaps_the_fields(browser: Any, visit: Any) -> None:
    visit("/jobs/new?preset=balanced")
    browser.find_element("css selector", "input[value=low_memory]").click()
    until(browser, "document.getElementById('param-batch_size').value === '4'")
    until(browser, "document.querySelector('#review pre').textContent.includes('low_memory')")
    assert browser.find_element("id", "param-accumulation").get_attribute("value") == "8"


def test_a_finished_job_is_drawn(ready: Any, browser: Any, visit: Any) -> None:
    job = jobs.succeeded(ready.developer)
    visit(f"/jobs/{job.public_id}/")
    until(browser, "document.querySelectorAll('[data-drawn=lines] canvas').length === 2")
    until(browser, "document.querySelector('[data-drawn=heatmap] canvas')")
    every = browser.find_element("css selector", "[data-chart-show]:not([aria-pressed=true])")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", every)
    until(browser, "document.getElementById('confusion-chart').dataset.chart.includes('every=1')")
    # Results that come anew are drawn anew, and the strict policy lets no style of the old drawing through.
    browser.execute_script(
        "document.getElementById('confusion-chart').dataset.old = '1';"
        "document.body.dispatchEvent(new CustomEvent('job-results'))"
    )
    until(browser, "document.querySelector('#confusion-chart:not([data-old]) canvas')")
    first = "document.querySelector('.class-table tbody tr').cells[0].textContent"
    assert browser.execute_script(f"return {first}") == "class_03"
    browser.find_element("css selector", ".class-table [data-sort=text]").click()
    assert browser.execute_script(f"return {first}") == "=1+1"


def test_a_running_job_lives(ready: Any, browser: Any, visit: Any) -> None:
    job = jobs.running(ready.developer)
    visit(f"/jobs/{job.public_id}/")
    until(browser, "document.querySelector('[data-log]').textContent.includes('Step 12')")
    jobs.log_append(job, "14:43:09 INFO Step 13 of 40")
    Job.objects.filter(pk=job.pk).update(progress=0.42)
    until(browser, "document.querySelector('[data-log]').textContent.includes('Step 13')")
    until(browser, "document.querySelector('#job-live').textContent.includes('42 %')")
    Job.objects.filter(pk=job.pk).update(status="cancelled", phase="")
    until(browser, "document.querySelector('#job-chip').textContent.includes('Cancelled')")
    assert "Retry from the start" in browser.find_element("id", "job-actions").text


def test_a_phone_shows_every_step_and_texts_in_full_width(ready: Any, browser: Any, visit: Any) -> None:
    row = {"text": "where is my card " * 6, "label": "c" * 40, "expected": "d" * 40, "score": 0.4}
    told = {"rows": 2, "accuracy": 0.5, "labelled": 2, "labels": [{"label": "c" * 48, "rows": 2}]}
    job = jobs.succeeded(ready.developer)
    (jobs.folder_of(job) / "artifacts" / "predictions.json").write_text(
        json.dumps(told | {"unsure": [row], "first": [row]})
    )
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        visit(f"/jobs/{job.public_id}/")
        ends = "[...document.querySelectorAll('.stepper li')].map(step => step.getBoundingClientRect().right)"
        assert all(0 < end <= 390 for end in browser.execute_script(f"return {ends}"))
        # The heads stay on a phone: one sorts by them.
        first = "document.querySelector('.class-table tbody tr').cells[0].textContent"
        head = browser.find_element("css selector", ".class-table [data-sort=text]")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", head)
        head.click()
        assert browser.execute_script(f"return {first}") == "=1+1"
        artifacts = job.progress_detail["artifacts"] | {"predictions": {"path": "artifacts/predictions.json"}}
        detail = job.progress_detail | {"artifacts": artifacts}
        Job.objects.filter(pk=job.pk).update(kind="predict", progress_detail=detail)
        visit(f"/jobs/{job.public_id}/")
        for table in browser.find_elements("css selector", "main table"):
            cells = "return [...arguments[0].tBodies[0].rows].map(row => row.cells[0].getBoundingClientRect().width)"
            assert min(browser.execute_script(cells, table)) > 250
            assert browser.execute_script("return arguments[0].scrollWidth - innerWidth", table) <= 0
        assert len(browser.find_elements("css selector", "main table.two-line")) == 4
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_overflows_on_a_phone(ready: Any, browser: Any, visit: Any) -> None:
    job = jobs.succeeded(ready.developer)
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for path in ("/jobs/", "/jobs/new", "/workers/", "/compress/", f"/jobs/{job.public_id}/"):
            visit(path)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 390, path
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_an_open_question_outlives_the_pages_refresh(ready: Any, browser: Any, visit: Any) -> None:
    """The button that asks is a part of what the page swaps when the job changes."""
    job = jobs.running(ready.developer)
    visit(f"/jobs/{job.public_id}/")
    browser.find_element("css selector", "[data-open-dialog=ask-cancel]").click()
    until(browser, "document.querySelector('#ask-cancel:modal')")
    browser.execute_script(
        "window.asked = 0; document.addEventListener('htmx:afterRequest', () => { window.asked += 1 })"
    )
    Job.objects.filter(pk=job.pk).update(cancel_requested_at=job.started_at)
    until(browser, "window.asked >= 2")
    assert browser.find_elements("css selector", "#ask-cancel:modal")
    browser.find_element("css selector", "#ask-cancel [data-close-dialog]").click()
    until(browser, "!document.querySelector('#ask-cancel')")
