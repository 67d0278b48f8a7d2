#!/usr/bin/env python3
"""Photograph the pages of a running instance with headless Chromium: for the README, and to look at one's own work.

    python scripts/screenshots.py --password ... [--url http://localhost:8700] [--out docs/img] [--all] [PATH ...]

Without `--all` each page is taken once, 1440 pixels wide, light, in English; with it also at 390 pixels, dark, and in
Chinese. PATHs replace the pages of the README; the dataset, job and endpoint shown are the newest ones.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import os
import shutil
import sys
import time
from pathlib import Path

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
#: What the README shows: file name, address; what stands in braces is the newest of its list.
PAGES = {
    "home": "/",
    "dataset": "{dataset}",
    "wizard": "/jobs/new",
    "job": "{job}",
    "compress": "/compress/",
    "endpoint": "{endpoint}?tab=traffic",
}
LISTS = {"dataset": "/datasets/", "job": "/jobs/?status=succeeded&kind=train", "endpoint": "/endpoints/"}


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


def newest(page: webdriver.Chrome, url: str, path: str) -> str:
    """The address of the first thing in a list; empty where there is none."""
    page.get(f"{url}{path}")
    links = page.find_elements(By.CSS_SELECTOR, "main table a.primary")
    return (links[0].get_attribute("href") or "").removeprefix(url) if links else ""


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
        if not options.paths:
            found = {name: newest(page, options.url, path) for name, path in LISTS.items()}
            filled = {name: path.format(**found) for name, path in pages.items()}
            pages = {name: path for name, path in filled.items() if path}
        looks = itertools.product((DESKTOP, PHONE), ("light", "dark"), ("en", "zh-hans"))
        for (name, path), (width, theme, language) in itertools.product(pages.items(), list(looks)):
            if not options.all and (width, theme, language) != (DESKTOP, "light", "en"):
                continue
            marks = (("390", width == PHONE), ("dark", theme == "dark"), ("zh", language != "en"))
            target = options.out / f"{'-'.join([name, *(mark for mark, wanted in marks if wanted)])}.png"
            photograph(page, options.url + path, target, width=width, theme=theme, language=language)
            print(target)
    finally:
        page.quit()


if __name__ == "__main__":
    main()
