"""What the page shows is what SQL says: every window, the past, other counters, ids of any kind; and what the address says."""
import pytest
from harness.clock import DAY, HOUR, hour_of, now
from views import HOSTILE, WINDOWS


def tab(window):
    return f"[role=tab][data-window='{window}']"


def test_every_window_is_the_list_of_sql(browser, serve, views):
    browser.open(serve.origin)
    for window in WINDOWS:
        browser.click(tab(window))
        browser.wait_for_rows(views.top(window))
        browser.wait_for_state("live")
        assert browser.run("return new URLSearchParams(location.search).get('window')") == window
        assert browser.find(tab(window)).get_attribute("aria-selected") == "true"


@pytest.mark.parametrize("k", [1, 25, 300])
def test_length(browser, serve, views, k):
    browser.open(serve.origin, f"?window=all_time&k={k}")
    browser.wait_for_rows(views.top("all_time", k))
    assert browser.text("#length option:checked") == f"top {k}"


def test_ids_are_text(browser, serve, views):
    browser.open(serve.origin, "?window=hour&k=100")
    browser.wait_for_rows(views.top("hour", 100))
    assert set(HOSTILE) <= {video for video, _ in browser.rows()}
    assert browser.run("return document.querySelectorAll('#panel img').length") == 0
    assert "leads" in browser.run("return document.title")
    for width in (1280, 320):
        browser.look(size=(width, 800))
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), f"wider than {width}"


def test_shares_and_bars(browser, serve, views):
    browser.open(serve.origin, "?window=all_time&k=10")
    browser.wait_for_rows(views.top("all_time"))
    counts = [count for _, count in views.top("all_time")]
    shares = browser.run("return [...document.querySelectorAll('.share')].map(e => e.textContent)")
    assert shares == [f"{100 * count / sum(counts):.1f}%" for count in counts]
    widths = browser.run("return [...document.querySelectorAll('.fill')].map(e => parseFloat(e.style.width))")
    assert widths == pytest.approx([100 * count / counts[0] for count in counts], abs=0.01)


def test_another_counter(browser, serve, views):
    browser.open(serve.origin, "?window=hour&counter=plays")
    browser.wait_for_rows(views.top("hour", counter="plays"))
    assert browser.text("#counter") == "plays"
    browser.click(tab("day"))
    browser.wait_for_rows(views.top("day", counter="plays"))
    assert browser.run("return new URLSearchParams(location.search).get('counter')") == "plays"


def test_no_such_counter(browser, serve, expected_console):
    expected_console.append("status of 404")
    browser.open(serve.origin, "?window=hour&counter=nobody")
    browser.wait_for_state("refused")
    assert "nobody" in browser.text("#notice")
    assert browser.rows() == []


def test_picking_a_day(browser, serve, views):
    browser.open(serve.origin, "?window=day")
    browser.wait_for_rows(views.top("day"))
    day = now() - 2 * DAY
    browser.run("document.getElementById('when').value = arguments[0]", f"{day:%Y-%m-%d}")
    browser.click("#go")
    browser.wait_for_rows(views.top("day", at=day))
    browser.wait_for_state("past")
    assert browser.text("#freshness") == "Final: this window no longer changes"
    assert browser.text("#window-name") == f"{day:%A}, {day.day} {day:%B %Y}"
    assert "at=" in browser.driver.current_url

    browser.driver.refresh()  # the address is the page
    browser.wait_for_rows(views.top("day", at=day))
    browser.click("#back-to-live")
    browser.wait_for_rows(views.top("day"))
    browser.wait_for_state("live")
    assert "at=" not in browser.driver.current_url
    browser.driver.back()
    browser.wait_for_rows(views.top("day", at=day))


def test_steps_of_hours(browser, serve, views):
    browser.open(serve.origin, "?window=hour")
    browser.wait_for_rows(views.top("hour"))
    start = hour_of(now())
    assert browser.find("#later").get_attribute("disabled")
    hours = 0  # with views; one more if the running one began since they were written
    while rows := views.top("hour", at=start - (hours + 1) * HOUR):
        hours += 1
        browser.click("#earlier")
        browser.wait_for_rows(rows)
        browser.wait_for_state("past")
    assert hours >= 2
    browser.click("#earlier")
    browser.wait(lambda: browser.text("#nothing") and not browser.rows(), "an hour without views says so")
    browser.click("#later")
    browser.wait_for_rows(views.top("hour", at=start - hours * HOUR))


def test_month_before(browser, serve, views):
    browser.open(serve.origin, "?window=month")
    browser.wait_for_rows(views.top("month"))
    browser.click("#earlier")
    browser.wait_for_rows(views.top("month", at=now().replace(day=1) - DAY))


def test_all_time_has_no_past(browser, serve, views):
    browser.open(serve.origin, "?window=all_time&at=2026-01-01T00:00:00Z")
    browser.wait_for_rows(views.top("all_time"))
    assert browser.state() == "live"
    assert not browser.find("#picker").is_displayed()
