"""The site: on a laptop and on a phone every page fits, asks nobody outside for anything, and has no broken link and no error."""

from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from browsing import resize

WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT = (
    "return [...document.querySelectorAll('.md-typeset__scrollwrap')].filter(x => x.scrollWidth > x.clientWidth).length"
)
ASKED = "return performance.getEntriesByType('resource').map(entry => entry.name)"


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.anchors, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes.get("id"), attributes.get("name") if tag == "a" else None} - {None}
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]


@pytest.fixture(scope="session")
def pages(site):
    """Every page of the site, by its folder's address."""
    return {_address(site, path): _Page(path.read_text()) for path in sorted(site.rglob("index.html"))}


def _address(site, path):
    return str(path.parent.relative_to(site)).removeprefix(".") + "/"


def test_the_site_builds_without_a_warning(site):
    reference = (site / "config/index.html").read_text()
    assert "lifetimes_per_block" in reference and "--8&lt;--" not in reference
    assert "Add a figure" in (site / "extend/index.html").read_text()


@pytest.mark.parametrize("width", [1300, 390])
def test_every_page_fits_and_asks_nobody_outside(width, browser, address, pages):
    assert len(pages) > 20
    resize(browser, width, 900)
    for page in pages:
        browser.get(address + page.removeprefix("/"))
        assert browser.execute_script(WIDER) <= 0, page
        assert [name for name in browser.execute_script(ASKED) if not name.startswith(address)] == [], page
        if width > 1000:
            assert browser.execute_script(CUT) == 0, f"{page}: a table is cut off"


def test_every_link_leads_somewhere(site, pages):
    broken = []
    for page, content in pages.items():
        for link in content.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (site / page.strip("/") / unquote(parts.path)).resolve()
            file = target / "index.html" if target.is_dir() else target
            there = pages[_address(site, file)].anchors if parts.fragment else {""}
            if not file.is_file() or unquote(parts.fragment) not in there:
                broken.append((page, link))
    assert broken == []
    assert all(any("_sources/" in link for link in page.links) for page in pages.values())


def test_a_table_of_results_is_filtered(browser, address):
    from selenium.webdriver.support.ui import Select

    browser.get(f"{address}results/")
    bar = browser.find_element("css selector", ".filters")
    table = bar.find_element("xpath", "following::table[1]")
    names = [cell.text for cell in table.find_elements("css selector", "th")]
    filters = {
        label.text.split()[0]: Select(label.find_element("tag name", "select"))
        for label in bar.find_elements("tag name", "label")
    }
    filters["verdict"].select_by_visible_text("learns from reward")

    def shown():
        rows = table.find_elements("css selector", "tbody tr")
        return [[c.text for c in row.find_elements("tag name", "td")] for row in rows if row.is_displayed()]

    total = len(table.find_elements("css selector", "tbody tr"))
    assert {row[names.index("verdict")] for row in shown()} == {"learns from reward"}
    assert bar.find_element("css selector", "[role=status]").text == f"{len(shown())} of {total} rows"
    evaluation = shown()[0][names.index("evaluation")]
    filters["evaluation"].select_by_visible_text(evaluation)
    assert [row[names.index("evaluation")] for row in shown()] == [evaluation]
    filters["verdict"].select_by_visible_text("all")
    filters["evaluation"].select_by_visible_text("all")
    assert len(shown()) == total
