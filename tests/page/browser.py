"""Debian's Chromium without a window, and what a test looks at in it: the page's list and state, its console, every request."""
import json
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from harness.wait import wait_until

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
             "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
WIDE, NARROW = (1280, 860), (390, 844)
READ = """return [...document.querySelectorAll('#rows tr')].map(row => [
    row.querySelector('.name').textContent, Number(row.querySelector('.count').textContent.replaceAll(',', ''))])"""


class Browser:
    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="topk-chromium-")
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in (*ARGUMENTS, f"--user-data-dir={self.profile.name}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service(str(DRIVER)), options=options)
        self.origin = None
        self.ask("Emulation.setTimezoneOverride", timezoneId="UTC")

    def close(self):
        self.driver.quit()
        self.profile.cleanup()

    # --- What it is ---

    def ask(self, command, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def look(self, size=WIDE, scheme="light", motion="no-preference"):
        self.ask("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=size[0] < 600)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme},
                                                         {"name": "prefers-reduced-motion", "value": motion}])

    def screenshot(self, path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        assert self.driver.save_screenshot(str(path))

    # --- What it shows ---

    def open(self, origin, search=""):
        self.origin = origin
        self.driver.get(f"{origin}/{search}")

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        """As it is in the document, seen or not."""
        return self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def click(self, selector):
        self.find(selector).click()

    def keys(self, *keys):
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def focused(self):
        """What has the focus, as a selector would name it."""
        return self.run("const e = document.activeElement; return e.id ? `#${e.id}` : e.tagName")

    def state(self):
        return self.run("return document.body.dataset.state")

    def rows(self):
        return [tuple(row) for row in self.run(READ)]

    def wait(self, condition, what, limit=10, every=0.05):
        return wait_until(condition, limit, what, every)

    def wait_for_state(self, state, limit=10):
        self.wait(lambda: self.state() == state, f"the page is {state}, not {self.state()}", limit)

    def wait_for_rows(self, expected, limit=10, every=0.05):
        """`expected` is a list, or is called for one at each look."""
        def shown():
            seen = self.rows()
            wanted = expected() if callable(expected) else expected
            self.seen = f"page {seen}\nexpected {wanted}"
            return seen == wanted
        try:
            self.wait(shown, "the list", limit, every)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.seen}") from None

    # --- What it did ---

    def console(self):
        """Warnings and errors since the last call."""
        return [entry for entry in self.driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]

    def requests(self):
        """The address of every request since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"]
