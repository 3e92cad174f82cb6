"""The site in a headless Chromium: front page, a lesson, an API page and the search, at desktop and phone width.

Skipped where Chromium, its driver or a package that the site is made with is missing.
"""

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.metadata import version
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import REPOSITORY
from tests.repository import test_parts_page
from tests.repository.chromium import missing, served, wait

PACKAGES = ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx_copybutton", "sphinx_revealjs", "sphinx-mathjax-offline")
MISSING = missing("axe_core_python", "onnx", "onnxscript", *PACKAGES)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"the site needs {', '.join(MISSING)}, not found here"),
]
browser = test_parts_page.browser
PAGES = {"front": "index.html", "lesson": "notebooks/09_training.html", "api": "api/partlib.losses.html"}
PAGES |= {
    "search": "search.html?q=contrast",
    "glossary": "notebooks/GLOSSARY.html",
    "cheat sheet": "docs/CHEATSHEET.html",
}
WIDTHS = (1280, 375)
LARGEST = 80e6  # bytes


class Links(HTMLParser):
    """What a page links to and shows, and the anchors that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.targets, self.anchors, self.silent = [], set(), []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        self.targets += [values[name] for name in ("href", "src") if values.get(name)]
        if tag == "img" and not values.get("alt"):
            self.silent.append(values.get("src", "")[:60])


@pytest.fixture(scope="module")
def folder(own_cache, tmp_path_factory):
    """The site as ``make site`` builds it: a warning would be an error."""
    target = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "docs.make_site", str(target)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return target


@pytest.fixture(scope="module")
def address(folder):
    with served(folder) as server:
        yield f"{server}/"


@pytest.fixture(scope="module")
def pages(folder) -> dict:
    """Page -> what it links to."""
    found = {}
    for path in (path for path in folder.rglob("*.html") if "_static" not in path.parts):  # templates of the theme
        found[path] = Links()
        found[path].feed(path.read_text(encoding="utf-8"))
    return found


def test_the_site_is_small_and_has_every_lesson_and_module(folder):
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < LARGEST
    for kind in (".", "exercises", "solutions"):
        for path in (REPOSITORY / "notebooks" / kind).glob("*.ipynb"):
            assert (folder / "notebooks" / kind / f"{path.stem}.html").is_file(), path.stem
    for path in (REPOSITORY / "partlib").rglob("*.py"):
        module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        known = module in ("partlib", "partlib.__main__") or (folder / "api" / f"{module}.html").is_file()
        assert known, module


def test_no_link_or_picture_is_broken_and_nothing_is_loaded_from_elsewhere(folder, pages):
    broken = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                broken.append(f"{path.relative_to(folder)}: {target}")
            elif parts.fragment and file in pages and unquote(parts.fragment) not in pages[file].anchors:
                generated = file.name in ("genindex.html", "py-modindex.html") or "slides" in file.parts
                broken += [] if generated else [f"{path.relative_to(folder)}: {target}"]
    assert not broken, broken[:20]
    scripts = [path for path in pages if re.search(r"<script[^>]+src=.https?://", path.read_text(encoding="utf-8"))]
    assert not scripts


def test_every_figure_has_an_alternative_text(folder, pages):
    silent = {path.relative_to(folder).as_posix(): page.silent for path, page in pages.items() if page.silent}
    assert not silent, dict(list(silent.items())[:5])


def test_words_of_the_glossary_are_explained_where_the_pointer_rests(folder):
    lesson = (folder / "notebooks" / "06_contrastive.html").read_text(encoding="utf-8")
    links = re.findall(r'<a class="reference internal" href="GLOSSARY\.html#[^>]+>', lesson)
    assert len(links) > 3
    assert all('title="' in link for link in links)


def test_arguments_and_formulae_are_on_the_pages_of_the_library(folder):
    page = (folder / "api" / "partlib.losses.html").read_text(encoding="utf-8")
    assert "softmax times foreground, in [0, 1]" in page  # the comment behind the argument
    assert r"\frac{\sum_u m_k z}" in page
    assert "../_modules/partlib/losses.html#consistency_loss" in page
    fields = (folder / "api" / "partlib.config.html").read_text(encoding="utf-8")
    assert "weight of the visual loss" in fields  # the comment behind a field


def test_a_folder_that_holds_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    command = [sys.executable, "-m", "docs.make_site", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert "holds other files (thesis.txt)" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_without_an_error_and_all_can_use_it(browser, address, name, width):
    from axe_core_python.selenium import Axe

    emulated = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", emulated)
    browser.get_log("browser")
    browser.get(address + PAGES[name])
    wait(browser, lambda d: d.execute_script("return document.readyState") == "complete", "the page")
    if name == "search":
        found = "return document.querySelectorAll('#search-results li').length"
        wait(browser, lambda d: d.execute_script(found) > 3, "results of the search")
        words = "return [...document.querySelectorAll('#search-results .context')].map(x => x.textContent).join()"
        wait(browser, lambda d: len(d.execute_script(words)) > 500, "words of the results")
        assert "System Settings" not in browser.execute_script(words)  # the theme's button for light and dark
    if name == "api":
        drawn = "return document.querySelectorAll('mjx-container').length"
        wait(browser, lambda d: d.execute_script(drawn) > 2, "formulae")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    # pictures below are loaded when one comes near; all shall be there
    browser.execute_script("document.querySelectorAll('img').forEach(x => { x.loading = 'eager' })")
    loaded = "return [...document.images].filter(x => !x.complete || !x.naturalWidth).map(x => x.src.slice(0, 80))"
    wait(browser, lambda d: not d.execute_script(loaded), "pictures")
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors
    if version("sphinx-book-theme").startswith("1.1"):
        pytest.skip("the theme for Python 3.10 has faults of accessibility of its own, which newer ones do not have")
    faults = [fault for fault in Axe().run(browser)["violations"] if fault["impact"] in ("serious", "critical")]
    assert not faults, [(fault["id"], fault["nodes"][0]["html"][:200], len(fault["nodes"])) for fault in faults]


def test_the_film_plays(browser, address):
    browser.get(address + PAGES["lesson"])
    films = browser.find_elements("css selector", "img[src$='.gif']")
    assert films
    browser.execute_script("arguments[0].scrollIntoView()", films[0])
    wait(browser, lambda d: len({films[0].screenshot_as_base64 for _ in range(20)}) > 1, "the next frame")


def test_links_lead_to_the_repository_once_it_has_a_place(monkeypatch):
    from docs import make_site

    monkeypatch.setattr(make_site, "REPOSITORY", "someone/parts")
    page = REPOSITORY / "docs" / "SPEED.md"
    text = make_site.with_links(
        "[plain](../tests/plain.py) [use](USE.md#recipe)", page, {REPOSITORY / "docs" / "USE.md"}
    )
    assert text == "[plain](https://github.com/someone/parts/blob/main/tests/plain.py) [use](USE.md#recipe)"
    monkeypatch.setattr(make_site, "REPOSITORY", "")
    assert make_site.with_links("[plain](../tests/plain.py)", page, set()) == "plain"
