"""The page in a real browser: it asks for nothing, says nothing, runs nothing, and can be read by everybody."""

import io
import json
import os
import re
import sys
from pathlib import Path

import pytest
import samples
from chromium import Chromium, program

from hostaudit import report
from hostaudit.report.page.context import NOTHING

AXE = Path(sys.prefix) / "consumers/axe.min.js"
RULES = "['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']"
PAGES = {
    "forty": (samples.forty(), samples.everything()),
    "hostile": (samples.hostile(), samples.hostile_context()),
    "clean": (samples.run_of([], [samples.HostReport("web1", "ok", "", "6.1", "Debian", 2.0)]), NOTHING),
}
LOOKS = pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (390, "light"), (320, "dark")])
pytestmark = pytest.mark.consumers


@pytest.fixture(scope="module")
def browser():
    assert program(), "no browser; make consumers installs one"
    with Chromium() as browser:
        yield browser


@pytest.fixture(scope="module", params=PAGES)
def page(request, tmp_path_factory):
    run, context = PAGES[request.param]
    out = io.StringIO()
    report.render("html", run, out, report.Style(show=frozenset(samples.Status)), context)
    file = tmp_path_factory.mktemp("page") / f"{request.param}.html"
    file.write_text(out.getvalue(), encoding="utf-8")
    return file


@LOOKS
def test_it_asks_for_nothing_and_nobody_complains(browser, page, width, scheme):
    browser.open(page, width, 900, scheme)
    title = browser.run("document.title")
    assert title.endswith(" - hostaudit")
    assert browser.requests() == [page.resolve().as_uri()]
    assert browser.complaints() == []
    # the body as wide as the window: tables scroll inside it, the page does not
    assert browser.run("document.documentElement.scrollWidth") == width
    if pictures := os.environ.get("REPORT_PICTURES"):
        browser.whole(Path(pictures) / f"{page.stem}-{width}-{scheme}.png")


@LOOKS
def test_axe_finds_no_barrier(browser, page, width, scheme):
    browser.open(page, width, 900, scheme)
    browser.run(AXE.read_text("utf-8") + ";0")
    answer = browser.run(f"axe.run(document, {{runOnly: {RULES}}}).then(r => JSON.stringify(r))")
    result = json.loads(answer)
    assert [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in result["violations"]] == []
    assert len(result["passes"]) > 20


def test_a_script_that_slipped_in_would_not_run(browser, tmp_path):
    out = io.StringIO()
    report.render("html", samples.forty(), out, report.Style())
    worse = "<script>document.title='owned'</script><img src='http://192.0.2.1/x' onerror='document.title=1'></main>"
    file = tmp_path / "worse.html"
    file.write_text(out.getvalue().replace("</main>", worse), encoding="utf-8")
    browser.open(file)
    assert browser.run("document.title") == "2 causes are losing packets now - hostaudit"
    assert any("Content Security Policy" in said for said in browser.complaints())


def test_the_keyboard_reaches_the_report_first_and_every_place_shows_where_it_is(browser, page):
    browser.open(page)
    seen = []
    for _ in range(12):
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        seen.append(
            browser.run(
                "(e => [e.textContent.trim(), getComputedStyle(e).outlineStyle, e.getBoundingClientRect().top >= 0])"
                "(document.activeElement)"
            )
        )
    assert seen[0][0] == "Skip to the report"
    assert all(outline != "none" and visible for _, outline, visible in seen[1:4]), seen


def test_it_prints_everything_also_what_is_folded(browser, page, tmp_path):
    browser.open(page, 700, 900, "dark", media="print")
    folded = "[...document.querySelectorAll('details:not([open])')]"
    assert browser.run(f"{folded}.every(d => d.lastElementChild.checkVisibility({{contentVisibilityAuto: true}}))")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    sheet = tmp_path / "a.pdf"
    browser.printed(sheet)
    assert sheet.read_bytes().startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", sheet.read_bytes())) >= 1
