"""Slides of all lessons in a headless Chromium: all fits on the slides, can be read, and is loaded from the folder.

Skipped where Chromium, its driver or a package that slides are made with is missing.
"""

import re
import subprocess
import sys

import nbformat
import pytest

from tests.conftest import REPOSITORY
from tests.repository import test_browser
from tests.repository.chromium import missing, served, wait

NOTEBOOKS = REPOSITORY / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
MISSING = missing("nbconvert", "sphinx_revealjs", "sphinx-mathjax-offline")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"slides need {', '.join(MISSING)}, not found here")

browser = test_browser.browser
READY = "return Boolean(window.Reveal && Reveal.isReady() && window.MathJax && MathJax.startup.promise)"
# Every slide in turn: what reaches over its edge or over that of its box, and whether it can be read.
MEASURE = r"""
    return Reveal.getSlides().map((slide, number) => {
        Reveal.slide(number);
        const scale = Reveal.getScale(), frame = document.querySelector('.slides').getBoundingClientRect(), found = [];
        const apart = 'aside, mjx-assistive-mml, mjx-container *';
        const shown = [...slide.querySelectorAll('*')].filter(x => !x.closest(apart));
        for (const x of shown) {
            const box = x.getBoundingClientRect();
            const [left, top] = [(box.left - frame.left) / scale, (box.top - frame.top) / scale];
            const [right, bottom] = [(box.right - frame.left) / scale, (box.bottom - frame.top) / scale];
            const name = x.tagName + ' ' + x.className + ' ' + x.textContent.slice(0, 40);
            if (left < -1 || top < -1 || right > 1281 || bottom > 721) found.push('over the edge: ' + name);
            const letters = [...x.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
            const size = parseFloat(getComputedStyle(x).fontSize);
            if (letters && size < (x.closest('table, pre') ? 18 : 24)) found.push('small, ' + size + ' px: ' + name);
            if (x.tagName === 'IMG') {
                if (!x.complete || !x.naturalWidth) found.push('broken: ' + x.alt);
                if (x.alt.length < 20) found.push('no alternative text: ' + x.alt);
                const drawn = Math.min((right - left) / x.naturalWidth, (bottom - top) / x.naturalHeight);
                if (drawn < 0.5) found.push('drawn at ' + drawn.toFixed(2) + ' of its size: ' + x.alt);
            }
        }
        const blocks = [...slide.querySelectorAll('.content > *, .lesson')]
            .map(x => [x, x.getBoundingClientRect()]);
        blocks.forEach(([a, first], i) => blocks.slice(i + 1).forEach(([b, second]) => {
            const wide = Math.min(first.right, second.right) - Math.max(first.left, second.left);
            const high = Math.min(first.bottom, second.bottom) - Math.max(first.top, second.top);
            if (wide > 1 && high > 1) found.push(`${a.className || a.tagName} lies on ${b.className}`);
        }));
        if (slide.scrollWidth > 1281 || slide.scrollHeight > 721) found.push('content is larger than the slide');
        return found.map(what => `slide ${number + 1}: ${what}`);
    }).flat();
"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    """The folder of all decks."""
    folder = tmp_path_factory.mktemp("slides") / "decks"
    command = [sys.executable, "-m", "docs.make_slides", str(folder)]
    made = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


@pytest.fixture(scope="module")
def server(decks):
    with served(decks) as address:
        yield address


def test_a_deck_for_every_lesson_and_an_index_of_them(decks):
    index = (decks / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'href="(\d.*?)"', index) == [f"{path.stem}.html" for path in LESSONS]
    for path in LESSONS:
        assert nbformat.read(path, as_version=4).cells[0].source.removeprefix("# ") in index
    assert not re.search(r"(src|href)=.https?:", index)


def test_older_slides_are_replaced_and_nothing_else_is(decks, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    for folder, code in ((decks, 0), (tmp_path, 1)):
        command = [sys.executable, "-m", "docs.make_slides", str(folder)]
        assert subprocess.run(command, cwd=REPOSITORY, capture_output=True).returncode == code
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_everything_is_on_the_slides_can_be_read_and_comes_from_the_folder(path, server, browser):
    browser.get(f"{server}/{path.stem}.html")
    wait(browser, lambda d: d.execute_script(READY), "no slides", seconds=30)
    title = nbformat.read(path, as_version=4).cells[0].source.removeprefix("# ")
    assert browser.execute_script("return Reveal.getCurrentSlide().querySelector('h1').textContent") == title
    assert 10 <= browser.execute_script("return Reveal.getTotalSlides()") <= 20
    last = browser.execute_script("return Reveal.getSlides().at(-1).querySelector('h2').textContent")
    assert last.strip() == "Key takeaways"
    assert browser.execute_script(MEASURE) == []
    texts = browser.execute_script("return [...document.querySelectorAll('.text')].map(x => x.textContent)")
    assert not [text for text in texts if "$" in text or "](" in text]  # formulas and links that are not drawn
    assert not browser.execute_script("return document.querySelector('mjx-merror')")
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [address for address in loaded if not address.startswith((server, "data:"))] == []
    assert browser.get_log("browser") == []
