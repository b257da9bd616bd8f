"""For everybody: axe-core finds nothing serious, the keyboard reaches all of it, and it fits a phone. Leaves the screenshots."""
import os
import random
import time
from pathlib import Path

import pytest
from browser import NARROW, WIDE
from harness.clock import DAY, now
from selenium.webdriver.common.keys import Keys

SHOTS = Path(__file__).resolve().parents[2] / "build/page"
LOOKS = [(scheme, size) for scheme in ("light", "dark") for size in (WIDE, NARROW)]
LOOK_IDS = [f"{scheme}-{'wide' if size is WIDE else 'narrow'}" for scheme, size in LOOKS]
RUN_AXE = "const done = arguments[0]; axe.run(document).then(r => done(r.violations), e => done(String(e)))"
GROWTH_SECONDS = float(os.environ.get("PAGE_GROWTH_SECONDS") or 8)  # what the lines of the picture show


@pytest.fixture(autouse=True)
def axe_draws(expected_console):
    """It looks at colours by a canvas, and Chromium has an opinion on how."""
    expected_console.append("Canvas2D")


def findings(browser, axe):
    browser.run(axe)
    violations = browser.driver.execute_async_script(RUN_AXE)
    assert isinstance(violations, list), violations
    return [f"{v['impact']} {v['id']}: {v['help']}: {[n['html'][:120] for n in v['nodes']][:3]}" for v in violations if v["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("scheme, size", LOOKS, ids=LOOK_IDS)
def test_axe(browser, serve, views, axe, expected_console, scheme, size):
    expected_console.append("status of 404")
    browser.look(size=size, scheme=scheme)
    for search, state in (("?window=hour&k=100", "live"), (f"?window=day&at={(now() - 2 * DAY):%Y-%m-%dT%H:%M:%SZ}", "past"),
                          ("?window=all_time&k=100", "live"), ("?counter=nobody", "refused")):
        browser.open(serve.origin, search)
        browser.wait_for_state(state)
        if state == "live":
            leaders = views.top("hour", 3)
            views.add({leaders[2][0]: leaders[0][1] - leaders[2][1] + 1})  # with movement and gain on the page
            browser.wait(lambda: browser.run("return [...document.querySelectorAll('.gain')].some(e => e.textContent)"), "an update")
        assert not findings(browser, axe), search
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_axe_would_find_something(browser, serve, axe):
    browser.open(serve.origin)
    browser.wait_for_state("live")
    browser.run("const i = document.createElement('img'); i.src = 'assets/icon.svg'; document.body.append(i)")
    assert any("image-alt" in finding for finding in findings(browser, axe))


def test_axe_of_a_page_out_of_date(browser, serve, views, axe, expected_console):
    expected_console.append("ERR_")
    browser.open(serve.origin)
    browser.wait_for_state("live")
    serve.process.terminate()
    browser.wait_for_state("lost")
    assert not findings(browser, axe)


def test_keyboard(browser, serve, views):
    browser.open(serve.origin)
    browser.wait_for_rows(lambda: views.top("hour"))
    browser.keys(Keys.TAB)
    assert browser.focused() == "#tab-0"
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for key, window in ((Keys.ARROW_RIGHT, "day"), (Keys.END, "24 hours"), (Keys.ARROW_RIGHT, "hour"), (Keys.ARROW_LEFT, "24 hours"), (Keys.HOME, "hour"),
                        (Keys.ARROW_RIGHT, "day")):
        browser.keys(key)
        browser.wait_for_rows(lambda: views.top(window))
        assert browser.run("return document.activeElement.dataset.window") == window
        assert browser.run("return document.querySelectorAll('[role=tab][tabindex=\"0\"]').length") == 1
    browser.keys(Keys.TAB)
    assert browser.focused() == "#panel"
    browser.keys(Keys.TAB)
    assert browser.focused() == "#earlier"
    browser.keys(Keys.ENTER)
    browser.wait_for_rows(views.top("day", at=now() - DAY))
    reached = [browser.focused()]
    while reached[-1] != "#back-to-live":
        browser.keys(Keys.TAB)
        reached.append(browser.focused())
        assert len(reached) < 12, reached  # the parts of a date are stops, too
    assert "#when" in reached and "#go" in reached
    browser.keys(Keys.ENTER)
    browser.wait_for_rows(views.top("day"))
    assert browser.focused() == "#when"


def test_structure(browser, serve, views):
    browser.open(serve.origin)
    browser.wait_for_rows(lambda: views.top("hour"))
    structure = browser.run("""const all = s => document.querySelectorAll(s).length;
        return {h1: all('h1'), main: all('main'), tablist: all('[role=tablist]'), tabs: all('[role=tab][aria-controls=panel]'),
                panel: document.getElementById('panel').getAttribute('aria-labelledby'), caption: all('table caption'),
                columns: all('thead th[scope=col]'), rows: all('tbody th[scope=row]'), lang: document.documentElement.lang}""")
    assert structure == {"h1": 1, "main": 1, "tablist": 1, "tabs": 5, "panel": "tab-0", "caption": 1, "columns": 4, "rows": 10, "lang": "en"}
    assert browser.text("#caption").startswith("The 10 most viewed videos, hour, ")


def test_screenshots(browser, serve, views):
    """Light and dark, wide and narrow, of a list that has grown for a while; build/page/*.png."""
    rng = random.Random(20260607)
    videos = [f"vid_{rng.randint(10_000, 99_999)}" for _ in range(60)]
    weights = [1 / (1 + place) ** 0.7 for place in range(len(videos))]
    for place in (4, 10):
        weights[place] = 0.99 * weights[place - 1]
    views.add({video: int(60_000 * weight) for video, weight in zip(videos, weights)}, "videos")
    browser.open(serve.origin, "?counter=videos")
    browser.wait_for_rows(lambda: views.top("hour", counter="videos"))
    end = time.monotonic() + GROWTH_SECONDS
    while time.monotonic() < end:
        drawn = rng.choices(videos, [weight * rng.uniform(0.2, 1.8) for weight in weights], k=400)
        views.add({video: drawn.count(video) for video in set(drawn)}, "videos")
        browser.wait_for_rows(lambda: views.top("hour", counter="videos"))
    for (scheme, size), name in zip(LOOKS, LOOK_IDS):
        browser.look(size=size, scheme=scheme)
        top = views.top("hour", 11, counter="videos")
        views.add({top[4][0]: top[3][1] - top[4][1] + 12, top[10][0]: top[9][1] - top[10][1] + 5}, "videos")  # one overtakes, one is new
        browser.wait_for_rows(lambda: views.top("hour", counter="videos"))
        browser.wait(lambda: browser.run("return document.getElementById('chart').viewBox.baseVal.width === document.getElementById('chart').clientWidth"),
                     "the picture is drawn anew")
        browser.wait(lambda: browser.run("return document.getAnimations().every(a => a.effect.getTiming().iterations === Infinity)"), "all is in place")
        browser.screenshot(SHOTS / f"{name}.png")
        assert (SHOTS / f"{name}.png").stat().st_size > 20_000
