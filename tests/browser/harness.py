"""Headless Chromium, and eyes that look into the shadow roots in which Bokeh puts what it draws."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
# Whatever a page asks of another machine fails at once.
_NO_NETWORK = ("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",)

_SEE = """
const skipped = ['STYLE', 'SCRIPT', 'NOSCRIPT', 'TEMPLATE'];
function see(node, found) {
  for (const child of node.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) {
      if (child.textContent.trim()) found.push(child.textContent.trim());
    } else if (child.nodeType === Node.ELEMENT_NODE && !skipped.includes(child.tagName)) {
      if (getComputedStyle(child).display === 'none') continue;
      if (child.shadowRoot) see(child.shadowRoot, found);
      see(child, found);
    }
  }
  return found;
}
return see(document.body, []).join(' ').replace(/\\s+/g, ' ');
"""

_FIND_ALL = """
function find(node, selector, found) {
  for (const child of node.querySelectorAll('*')) {
    if (child.matches(selector)) found.push(child);
    if (child.shadowRoot) find(child.shadowRoot, selector, found);
  }
  return found;
}
return find(document, arguments[0], []);
"""

_COLUMN = """
const found = [];
for (const document of Bokeh.documents)
  for (const model of document._all_models.values())
    if (model.type === 'ColumnDataSource') found.push(...(model.data[arguments[0]] ?? []));
return found.map(String);
"""

_WAIT_SECONDS = 60.0


class Browser:
    """A headless Chromium.

    Parameters
    ----------
    driver
        Of selenium.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def see(self) -> str:
        """All text that is shown."""
        return str(self.driver.execute_script(_SEE))

    def find(self, selector: str) -> list:
        """Elements, wherever they are."""
        return list(self.driver.execute_script(_FIND_ALL, selector))

    def column(self, name: str) -> set[str]:
        """What the plots show of a column: they paint their text, and nobody can read it."""
        return set(self.driver.execute_script(_COLUMN, name))

    def wait(self, is_there: Callable[[str], bool]) -> str:
        """Wait for a text that one wants to see; return it."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while not is_there(seen := self.see()):
            if time.monotonic() > deadline:
                pytest.fail(f"not seen within {_WAIT_SECONDS:.0f} s; seen: {seen[:3000]}")
            time.sleep(0.1)
        return seen

    def pixels(self, selector: str) -> np.ndarray:
        """What the one such element looks like: ``(height, width, 3)`` uint8."""
        (element,) = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'end'})", element)
        return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("RGB"))

    def screenshot(self, path: Path, width: int = 1400, height: int = 1000) -> None:
        self.driver.set_window_size(width, height)
        time.sleep(0.7)  # Bokeh fits its plots to the window
        self.driver.save_screenshot(str(path))

    def complaints(self) -> list[str]:
        """Errors of the page's scripts, and what it asked of the network in vain."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE" and "favicon" not in entry["message"]
        ]


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with an empty profile, and without a network but that of this machine."""
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        pytest.fail("chromium and chromium-driver are needed (apt-get install chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = str(paths[0])
    for flag in (*_FLAGS, *_NO_NETWORK, f"--user-data-dir={profile}", "--window-size=1400,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(paths[1])))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
