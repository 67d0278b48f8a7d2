"""Somebody in front of a real browser: what a person does with links, fields and buttons, and what they wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.e2e.conftest import Product

#: A page settles within this on a busy machine; a training run gets longer.
WAIT_S = 60


class Person:
    """Clicks by the words on the page, so that a label that is gone or a link that leads nowhere is noticed."""

    def __init__(self, browser: Any, product: Product) -> None:
        self.browser = browser
        self.product = product

    # --- looking ------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], Any], *, what: str, within_s: float = WAIT_S) -> Any:
        """The first true value; a failure tells what was waited for, and what the page said instead."""
        from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        passing = (NoSuchElementException, StaleElementReferenceException)
        try:
            return WebDriverWait(self.browser, within_s, 0.2, passing).until(lambda _: condition())
        except TimeoutException:
            said = self.browser.execute_script("return document.body.innerText")[:3000]
            raise AssertionError(f"waited {within_s:.0f} s for {what} at {self.browser.current_url}:\n{said}") from None

    def find(self, css: str) -> Any:
        """The first element there that can be seen."""

        def seen() -> Any:
            return next((found for found in self.browser.find_elements("css selector", css) if found.is_displayed()), 0)

        return self.until(seen, what=css)

    def text(self, css: str) -> str:
        """What an element says, in one line."""
        # In one try, since a live part of the page may be replaced between the finding and the reading.
        said: tuple[str] = self.until(lambda: (" ".join(self.find(css).text.split()),), what=css)
        return said[0]

    def texts(self, css: str) -> list[str]:
        """What each element says that is there now."""
        script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.innerText.trim())"
        return list(self.browser.execute_script(script, css))

    def see(self, words: str, css: str = "main", within_s: float = WAIT_S) -> None:
        """Wait until the words are there."""
        self.until(lambda: words in self.text(css), what=f"{words!r} in {css}", within_s=within_s)

    def shown(self, css: str) -> str:
        """All that an element holds, also what is folded away."""
        return str(self.browser.find_element("css selector", css).get_attribute("textContent"))

    @property
    def path(self) -> str:
        return str(self.browser.current_url).removeprefix(self.product.url)

    # --- doing --------------------------------------------------------------------------------------------------

    def go(self, path: str) -> None:
        self.browser.get(f"{self.product.url}{path}")

    def named(self, words: str, css: str = "main") -> Any:
        """The link, button or tab that bears exactly these words."""

        def match() -> Any:
            for found in self.browser.find_elements("css selector", f"{css} :is(a, button, summary)"):
                if found.is_displayed() and found.text.strip() == words:
                    return found
            return None

        return self.until(match, what=f"a link or button {words!r} in {css}")

    def click(self, words: str, css: str = "main") -> None:
        """Press what bears these words."""
        self.press(lambda: self.named(words, css))

    def press(self, target: str | Callable[[], Any] | Any) -> None:
        """Bring it into view, and press it where it is: what something else covers cannot be pressed.

        What a live part of the page replaced between the look and the press is looked for again, unless it is given
        as an element.
        """

        def pressed() -> bool:
            element = self.find(target) if isinstance(target, str) else target() if callable(target) else target
            self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.until(pressed, what=f"{target} to be pressed")

    def fill(self, name: str, value: str, css: str = "main") -> None:
        """Type into the field, over what stands there."""

        def filled() -> bool:
            field = self.find(f"{css} [name='{name}']")
            field.clear()
            field.send_keys(value)
            return True

        self.until(filled, what=f"{name} to be filled in")

    def choose(self, name: str, value: str, css: str = "main") -> None:
        """Pick an option by its value."""
        from selenium.webdriver.support.ui import Select

        Select(self.find(f"{css} select[name='{name}']")).select_by_value(value)

    def sign_in(self, user: str, password: str) -> None:
        self.go("/accounts/login/")
        self.fill("login", user, "form")
        self.fill("password", password, "form")
        self.press("form .btn-primary")
        self.until(lambda: "/accounts/login" not in self.path, what="the way past the sign-in")

    def sign_out(self) -> None:
        self.press(".popover-menu > summary")
        self.click("Sign out", ".popover-menu")
        self.until(lambda: "/accounts/login" in self.path, what="the sign-in page")
