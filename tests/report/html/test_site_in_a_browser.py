"""The site in headless Chromium: it works without a network, without a word on the console, and by keyboard."""

import json

import pytest
import synthetic_runs
from browser import Browser, program
from test_site_pages import HOSTILE, hostile

from lab.events import silent
from lab.use import site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(program() is None, reason="no chromium (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("site")
    list(synthetic_runs.write(root / "results", count=200, nights=6))
    bad = hostile(root / "results", number=7)
    request = site.Request(results=root / "results", output=root / "pages")
    return site.written(request, silent).index.parent, bad


@pytest.fixture
def browser(pages):
    with Browser() as opened:
        yield opened
        assert opened.complaints == []
        elsewhere = [url for url in opened.requests if not url.startswith(("file:///", "data:", "about:blank"))]
        assert elsewhere == []


def shown(browser):
    return browser.text("#count")


def shows(browser, count):
    """Wait until the page counts so many cells: it draws when it hears of the new address, not when that is set."""
    browser.until(f"document.getElementById('count').innerText.trim() === {json.dumps(count)}")
    return True


def test_the_grid_shows_every_cell_by_two_axes_and_in_words(browser, pages):
    browser.open(pages[0] / "index.html")
    assert shows(browser, "200 cells")
    assert browser.run("document.querySelectorAll('#gridtable .tile').length") == 50
    tiles = browser.run(
        "[...document.querySelectorAll('#gridtable .tile')].map((one) => one.getAttribute('aria-label') || one.innerText)"
    )
    assert sum(int(part.split()[0]) for tile in tiles for part in tile.split(", ")) == 200, (
        "each tile says how many of what"
    )
    browser.run(
        "document.getElementById('cols').value = '2'; document.getElementById('cols').dispatchEvent(new Event('change'))"
    )
    browser.until("location.hash.includes('cols=')")
    browser.until("document.querySelector('#gridtable thead').innerText.includes('tmpfs')")


def test_search_and_filters_lie_in_the_address_and_come_back(browser, pages):
    browser.open(pages[0] / "index.html")
    browser.press("/")
    for key in "llvm-14":
        browser.press(key)
    browser.until("location.hash.includes('q=llvm-14')")
    assert shows(browser, "40 of 200 cells")
    browser.run("document.querySelector('.total[data-outcome=PASS]').click()")
    browser.until("document.querySelector('.total[data-outcome=PASS]').getAttribute('aria-pressed') === 'true'")
    passed = shown(browser)
    browser.run(
        "const one = document.querySelector('select[data-axis]'); one.value = '1'; one.dispatchEvent(new Event('change'))"
    )
    browser.until("location.hash.includes('a.arch=arm64') && location.hash.includes('outcome=PASS')")
    browser.until(f"document.getElementById('count').innerText.trim() !== {json.dumps(passed)}")
    before, fragment = shown(browser), browser.run("location.hash")
    browser.open(pages[0] / "index.html", fragment)
    assert shows(browser, before)
    assert browser.run("document.getElementById('q').value") == "llvm-14"
    assert browser.run("document.querySelector('.total[data-outcome=PASS]').getAttribute('aria-pressed')") == "true"


def test_the_views_are_reached_by_keys_and_a_tile_by_tab_and_enter(browser, pages):
    browser.open(pages[0] / "index.html")
    browser.press("3")
    browser.until("!document.getElementById('cells').hidden")
    assert browser.run("document.querySelectorAll('#celltable tbody tr').length") == 200
    browser.press("1")
    browser.until("!document.getElementById('grid').hidden")
    browser.run("document.getElementById('cols').focus()")
    for _ in range(2):
        browser.press("Tab")
    assert browser.run("document.activeElement.className").startswith("tile")
    browser.press("Enter")
    browser.until("location.hash.includes('view=cells')")
    assert shows(browser, "4 of 200 cells")


def test_findings_are_grouped_and_lead_to_their_cells_and_pages(browser, pages):
    browser.open(pages[0] / "index.html", "#view=findings")
    groups = browser.run(
        "[...document.querySelectorAll('.group')].map((one) => one.querySelector('.facts a').innerText)"
    )
    counts = [int(text.split()[0]) for text in groups]
    assert counts == sorted(counts, reverse=True)
    browser.run("document.querySelector('.group .facts a').click()")
    browser.until("location.hash.includes('found=')")
    assert shows(browser, f"{counts[0]} of 200 cells")
    browser.open(pages[0] / "index.html", "#view=findings")
    link = browser.run("document.querySelector('.group h3 a').getAttribute('href')")
    browser.open(pages[0] / link)
    assert browser.text("h1") == link.split("/")[1].removesuffix(".html")


def test_the_chart_has_a_bar_for_each_night_and_the_table_its_numbers(browser, pages):
    browser.open(pages[0] / "index.html", "#view=nights")
    titles = browser.run("[...document.querySelectorAll('#chart .ct-series.pass title')].map((one) => one.textContent)")
    assert len(titles) == 6
    width = browser.run("parseFloat(getComputedStyle(document.querySelector('#chart .ct-bar')).strokeWidth)")
    assert width > 10, "bars are bars and no hairlines"
    rows = browser.run(
        "[...document.querySelectorAll('#nighttable tbody tr')].map((one) => [...one.cells].map((cell) => cell.innerText))"
    )
    assert all(sum(int(text) for text in row[1:] if text) == 200 for row in rows)
    passes = browser.run(
        "[...document.querySelectorAll('#nighttable thead th')].map((one) => one.innerText.trim())"
    ).index("✓ PASS")
    assert titles[-1].endswith(f": {rows[0][passes]} PASS")


def test_a_cell_page_is_styled_and_says_what_happened(browser, pages):
    browser.open(pages[0] / "index.html", "#view=cells&outcome=FAIL")
    link = browser.run("document.querySelector('#celltable tbody a').getAttribute('href')")
    browser.open(pages[0] / link)
    assert browser.run("getComputedStyle(document.querySelector('.badge')).borderTopWidth") != "0px", (
        "site.css was loaded"
    )
    seen = browser.text()
    for wanted in ("FAIL", "proof: build.txt", "Environment", "Console", "Do it again"):
        assert wanted in seen


def test_a_hostile_log_is_shown_and_runs_nowhere(browser, pages):
    folder, cell = pages
    for page, fragment in (
        ("index.html", "#view=cells&outcome=FAIL"),
        ("index.html", "#view=findings"),
        (f"cells/nightly/{cell}.html", ""),
        ("index.html", f"#view=cells&q=%3Cscript%3E&found={HOSTILE[:20]}"),
        ("cells.html", ""),
    ):
        browser.open(folder / page, fragment)
        assert browser.run("document.querySelectorAll('[onmouseover], a[href^=http], a[href^=javascript]').length") == 0
        assert browser.run("document.scripts.length") == (3 if page == "index.html" else 0)
        assert "<script>alert(1)</script>" in browser.text(), page


def test_what_stands_in_the_address_is_nobodys_markup(browser, pages):
    browser.open(
        pages[0] / "index.html",
        "#q=" + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&rows=__proto__&sort=x&more=1e9&a.arch=nowhere&outcome=NO",
    )
    assert shows(browser, "0 of 200 cells")
    assert browser.run("document.querySelectorAll('img').length") == 0


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_its_window(pages, width):
    folder, cell = pages
    with Browser(width=width, height=800) as opened:
        for page, fragment in (
            ("index.html", ""),
            ("index.html", "#view=cells"),
            ("index.html", "#view=nights"),
            ("index.html", "#view=findings"),
            (f"cells/nightly/{cell}.html", ""),
            ("explain/timestamps.tie.html", ""),
        ):
            opened.open(folder / page, fragment)
            assert opened.run("document.documentElement.scrollWidth <= window.innerWidth"), (page, fragment)


def test_dark_and_light_differ_and_print_is_light(pages):
    background = "getComputedStyle(document.body).backgroundColor"
    with Browser(dark=True) as opened:
        opened.open(pages[0] / "index.html")
        dark = opened.run(background)
        opened.call("Emulation.setEmulatedMedia", media="print")
        printed = opened.run(background)
        assert opened.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    with Browser() as opened:
        opened.open(pages[0] / "index.html")
        light = opened.run(background)
    assert dark != light
    assert printed == light


def test_without_scripts_there_is_a_plain_list(pages):
    text = (pages[0] / "cells.html").read_text()
    assert text.count("<tr>") == 201
    assert "<noscript>" in (pages[0] / "index.html").read_text()
    assert json.dumps("cells.html") in (pages[0] / "index.html").read_text()
