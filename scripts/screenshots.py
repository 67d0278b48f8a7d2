#!/usr/bin/env python3
"""Photograph the pages of a running instance with headless Chromium: for the README, and to look at one's own work.

    python scripts/screenshots.py --password ... [--url http://localhost:8700] [--out docs/img] [--all] [PATH ...]

Without `--all` each page is taken once, 1440 pixels wide, light, in English; with it also at 390 pixels, dark, and in
Chinese. PATHs replace the pages of the README; a job's page is that of the newest job that succeeded.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

ROOT = Path(__file__).resolve().parents[1]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
DESKTOP, PHONE = 1440, 390
MAX_HEIGHT = 4000
#: What the README shows: file name, address. `{job}` is the newest job that succeeded.
PAGES = {
    "home": "/",
    "dataset": "/datasets/",
    "wizard": "/jobs/new",
    "job": "/jobs/{job}/",
    "models": "/models/",
    "compress": "/compress/",
    "endpoints": "/endpoints/",
}


def browser() -> webdriver.Chrome:
    """Headless Chromium; exits with a sentence where there is none."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        sys.exit("No Chromium with chromedriver here: install the packages chromium and chromium-driver.")
    options = Options()
    options.binary_location = binary
    for flag in FLAGS:
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(driver))


def sign_in(page: webdriver.Chrome, url: str, user: str, password: str) -> None:
    """Through the form, as a person does."""
    page.get(f"{url}/accounts/login/")
    page.find_element(By.NAME, "login").send_keys(user)
    page.find_element(By.NAME, "password").send_keys(password)
    page.find_element(By.CSS_SELECTOR, "form button[type=submit], form .btn-primary").click()
    if "/accounts/login" in page.current_url:
        sys.exit("The sign-in was refused: give --user and --password of this instance.")


def photograph(page: webdriver.Chrome, address: str, target: Path, *, width: int, theme: str, language: str) -> None:
    """The whole height of the page, once its charts and fragments are there."""
    host = address.split("/")[2].split(":")[0]
    cookies = {"tuneyard_theme": theme, "django_language": language, "tuneyard_language": language}
    for name, value in cookies.items():
        page.execute_cdp_cmd("Network.setCookie", {"name": name, "value": value, "domain": host, "path": "/"})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.get(address)
    time.sleep(1.5)
    height = min(MAX_HEIGHT, max(900, int(page.execute_script("return document.documentElement.scrollHeight"))))
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**metrics, "height": height})
    time.sleep(0.5)
    overflow = int(page.execute_script("return document.documentElement.scrollWidth")) - width
    if overflow > 0:
        print(f"  {target.name}: {overflow} px wider than the screen")
    shot = page.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    target.write_bytes(base64.b64decode(shot["data"]))


def newest_job(page: webdriver.Chrome, url: str) -> str:
    """The public id of the newest job that succeeded; empty where there is none."""
    page.get(f"{url}/jobs/?status=succeeded")
    links: Iterable[Any] = page.find_elements(By.CSS_SELECTOR, "main table a[href*='/jobs/']")
    found = (re.search(r"/jobs/([^/]+)/?$", link.get_attribute("href") or "") for link in links)
    return next((match[1] for match in found if match), "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", help="addresses on the instance, e.g. /jobs/new")
    parser.add_argument("--url", default="http://localhost:8700")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default=os.environ.get("TUNEYARD_ADMIN_PASSWORD", ""))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img")
    parser.add_argument("--all", action="store_true", help="also phone width, dark, and Chinese")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    page = browser()
    try:
        sign_in(page, options.url, options.user, options.password)
        pages = {path.strip("/").replace("/", "-").split("?")[0] or "home": path for path in options.paths} or PAGES
        job = newest_job(page, options.url) if any("{job}" in path for path in pages.values()) else ""
        looks = itertools.product((DESKTOP, PHONE), ("light", "dark"), ("en", "zh-hans"))
        for (name, path), (width, theme, language) in itertools.product(pages.items(), list(looks)):
            if "{job}" in path and not job:
                continue
            if not options.all and (width, theme, language) != (DESKTOP, "light", "en"):
                continue
            marks = (("390", width == PHONE), ("dark", theme == "dark"), ("zh", language != "en"))
            target = options.out / f"{'-'.join([name, *(mark for mark, wanted in marks if wanted)])}.png"
            photograph(page, options.url + path.format(job=job), target, width=width, theme=theme, language=language)
            print(target)
    finally:
        page.quit()


if __name__ == "__main__":
    main()
