"""The page "Parts in the browser", in a headless Chromium: the parts that Python finds, nothing loaded from elsewhere.

Skipped where Chromium, its driver, selenium or a package that writes ONNX is missing.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from docs import parts_page
from partlib.data import birds
from partlib.data.photos import resize_photo
from partlib.data.reading import read_reduced
from partlib.errors import DataError
from partlib.masks.found import find, network_of
from partlib.masks.predicted import paste
from partlib.report.inference import segment_photo, whole
from partlib.runs.checkpoint import load_pretrained
from tests.conftest import REPOSITORY
from tests.repository.chromium import Quiet, chromium, missing, served, wait

MISSING = missing("axe_core_python", "onnx", "onnxscript")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"a test of the page needs {', '.join(MISSING)}, not found here"),
]
PAGE = REPOSITORY / "docs" / "parts"
SECONDS = 60  # for one picture; an idle machine needs about one
EQUAL = 0.99  # least share of the pixels that have Python's label
WIDTHS = (1280, 375)
MODELS = {"birds": "birds", "cub": "cub", "ccp": "photographs"}
LABELS = """
    const found = window.partsResult;
    if (!found) return null;
    if (found.error) return {error: found.error};
    let text = '';
    for (let i = 0; i < found.labels.length; i += 32768)
        text += String.fromCharCode(...found.labels.subarray(i, i + 32768));
    return {width: found.width, height: found.height, model: found.model, seconds: found.seconds, labels: btoa(text)};
"""
IMAGE = """
    const done = arguments[arguments.length - 1];
    import('./image.js').then(image => done(Array.from((%s)(image, ...arguments)))).catch(e => done(String(e)));
"""
FETCH = "const done = arguments[arguments.length - 1]; fetch(arguments[0]).then(r => r.text()).then(done)"


class Site(NamedTuple):
    address: str
    folder: Path
    sent: dict[str, int]  # path -> bytes that the server has sent for it


class Case(NamedTuple):
    """A picture and the choices on the page."""

    name: str
    photo: np.ndarray  # (H, W, 3) uint8
    kind: str = "birds"
    parts: int = 4
    whole: bool = False


@pytest.fixture(scope="module")
def site(own_cache, tmp_path_factory) -> Iterator[Site]:
    """The page, built and served."""
    folder, sent = tmp_path_factory.mktemp("site") / "parts", {}
    parts_page.build(folder)

    class Counting(Quiet):
        def copyfile(self, source, outputfile):
            content = source.read()
            sent[self.path.split("?")[0]] = len(content)
            outputfile.write(content)

    with served(folder, Counting) as address:
        yield Site(f"{address}/", folder, sent)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A headless Chromium that finds no host but this machine."""
    with chromium("host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", seconds=SECONDS) as driver:
        yield driver


@pytest.fixture
def page(site, browser):
    """The page, loaded anew in a wide window; afterwards the console must be empty."""
    browser.get_log("browser")
    open_page(browser, site, WIDTHS[0])
    yield browser
    said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not said, said[0]


def open_page(browser, site: Site, width: int, dark: bool = False) -> None:
    size = {"width": width, "height": 900 if width > 600 else 812, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.get(site.address)
    wait(browser, lambda d: "Ready" in d.find_element("id", "status").text, "the networks are not loaded")


def choose(browser, kind: str = "birds", parts: int = 4, whole: bool = False) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", "kind")).select_by_value(kind)
    browser.find_element("css selector", f"input[name=parts][value='{parts}']").click()
    if browser.find_element("id", "whole").is_selected() != whole:
        browser.find_element("id", "whole").click()


def divide(browser, path) -> dict:
    """What the page makes of a picture file: labels (H, W), or an error."""
    browser.execute_script("window.partsResult = null")
    browser.find_element("id", "file").send_keys(str(path))
    return labels_of(wait(browser, lambda d: d.execute_script(LABELS), f"{path.name}: no result"))


def labels_of(found: dict) -> dict:
    """What the page has found, with its labels as an array."""
    if "labels" in found:
        values = np.frombuffer(base64.b64decode(found["labels"]), np.uint8)
        found["labels"] = values.reshape(found["height"], found["width"])
    return found


def expected(case: Case, photo: np.ndarray, refine: bool = False) -> np.ndarray:
    """Labels (H, W) by Python."""
    segmenter, config = load_pretrained(f"{MODELS[case.kind]}-k{case.parts}")
    mask = whole(photo) if case.whole else find(network_of(case.kind), photo, refine)
    return segment_photo(segmenter, photo, mask, config.image_size)


def compare(browser, case: Case, folder) -> None:
    path = folder / f"{case.name}.png"
    Image.fromarray(case.photo).save(path, compress_level=1)
    choose(browser, case.kind, case.parts, case.whole)
    found = divide(browser, path)
    photo = read_reduced(path)[0]
    wanted, sharp = expected(case, photo), expected(case, photo, refine=True)
    assert found.get("model") == f"{MODELS[case.kind]}-k{case.parts}", found
    equal, refined = ((found["labels"] == labels).mean() for labels in (wanted, sharp))
    print(f"{case.name}: {equal:.3%} equal, {refined:.1%} with GrabCut, {found['seconds']:.2f} s")
    assert len(np.unique(wanted)) > 2
    assert equal >= EQUAL, f"{case.name}: {equal:.2%} of the pixels have Python's label"


def drawn_cases() -> list[Case]:
    """Ten pictures of drawn birds of two sizes, on three backgrounds, wide, high, small and cut off."""
    rng = np.random.default_rng(0)
    images = {size: birds.load("test", None, size, 12).images for size in (128, 256)}

    def on(shape, size: int, number: int, corner, background: str) -> np.ndarray:
        """A bird with its scene somewhere in a photograph (H, W, 3); what reaches over the edge is cut off."""
        (height, width), (top, left) = shape, corner
        bird = images[size][number]
        if background == "edge":
            around = ((top, max(0, height - top - size)), (left, max(0, width - left - size)), (0, 0))
            return np.pad(bird, around, "edge")[:height, :width]
        coarse = rng.integers(60, 200, (8, 8, 3), np.uint8)
        photo = resize_photo(coarse, max(shape))[:height, :width].copy()
        if background == "noise":
            photo = (photo + rng.normal(0, 12, photo.shape)).clip(0, 255).astype(np.uint8)
        photo[top : top + size, left : left + size] = bird[: height - top, : width - left]
        return photo

    return [
        Case("wide", on((300, 640), 256, 0, (20, 300), "edge")),
        Case("high", on((640, 300), 256, 1, (300, 30), "edge")),
        Case("large", on((1200, 1600), 256, 2, (500, 900), "edge")),
        Case("small", np.asarray(images[128][3])),
        Case("odd", on((211, 307), 128, 4, (40, 101), "edge"), parts=8),
        Case("blots", on((400, 500), 256, 5, (100, 200), "blots")),
        Case("noise", on((500, 333), 256, 6, (200, 40), "noise"), parts=8),
        Case("cut", on((260, 300), 256, 7, (60, 100), "edge")),
        Case("photographed", on((384, 384), 256, 8, (64, 64), "edge"), kind="cub"),
        Case("whole", np.asarray(images[256][9]), whole=True),
    ]


def test_ten_drawn_birds_have_the_parts_of_python(page, own_cache, tmp_path):
    for case in drawn_cases():
        compare(page, case, tmp_path)


def test_photographs_of_people_have_the_parts_of_python(page, ccp_root, tmp_path):
    for i, path in enumerate(sorted((ccp_root / "photos").glob("*.jpg"))[:6]):
        with Image.open(path) as photo:
            compare(page, Case(path.stem, np.asarray(photo.convert("RGB")), "ccp", (4, 8)[i % 2]), tmp_path)


def test_examples_choose_their_kind_and_have_the_parts_of_python(page, site, own_cache, tmp_path):
    buttons = page.find_elements("css selector", "#examples button")
    manifest = json.loads(page.execute_async_script(FETCH, "models.json"))
    assert {example["kind"] for example in manifest["examples"]} == {"birds", "ccp"}
    for button, example in zip(buttons, manifest["examples"], strict=True):
        page.execute_script("window.partsResult = null; arguments[0].click()", button)
        found = labels_of(wait(page, lambda d: d.execute_script(LABELS), f"{example['file']}: no result"))
        assert page.find_element("id", "kind").get_attribute("value") == example["kind"]
        photo = read_reduced(site.folder / example["file"])[0]
        equal = (found["labels"] == expected(Case("", photo, example["kind"]), photo)).mean()
        assert equal >= EQUAL, f"{example['file']}: {equal:.2%} of the pixels have Python's label"
        assert set(np.unique(found["labels"])) == {0, 1, 2, 3, 4}


def test_very_large_pictures_are_halved(page, own_cache, tmp_path):
    case = drawn_cases()[0]
    photo = np.asarray(Image.fromarray(case.photo).resize((6401, 2999)))  # 19 megapixels
    compare(page, case._replace(name="huge", photo=photo), tmp_path)


def test_photographs_are_turned_upright(page, own_cache, tmp_path):
    case, path = drawn_cases()[1], tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying
    Image.fromarray(np.rot90(case.photo)).save(path, quality=95, exif=exif)
    choose(page)
    found = divide(page, path)
    assert found["labels"].shape == case.photo.shape[:2]
    assert (found["labels"] == expected(case, read_reduced(path)[0])).mean() >= EQUAL


def test_what_goes_wrong_is_said_on_the_page_and_the_next_picture_works(page, own_cache, tmp_path):
    gray, broken = tmp_path / "gray.png", tmp_path / "broken.png"
    Image.fromarray(np.full((200, 300, 3), 128, np.uint8)).save(gray)
    broken.write_bytes(gray.read_bytes()[:50])
    choose(page)
    with pytest.raises(DataError, match="no object"):
        find(network_of("birds"), np.full((200, 300, 3), 128, np.uint8), refine=False)
    for path, message in ((gray, "No object was found"), (broken, "broken.png cannot be read as a picture")):
        assert message in divide(page, path)["error"]
        assert message in page.find_element("id", "error").text
    compare(page, drawn_cases()[3], tmp_path)
    assert not page.find_element("id", "error").is_displayed()


def test_resizing_is_that_of_pillow_to_the_bit(page):
    rng = np.random.default_rng(1)
    for side, size in ((97, 64), (64, 97), (300, 37), (50, 50)):
        bytes_ = rng.integers(0, 256, (side, side, 3), np.uint8)
        picture = {"data": bytes_.ravel().tolist(), "width": side, "height": side}
        call = "(image, p, size) => image.resizePhoto({...p, data: new Uint8Array(p.data)}, size).data"
        assert page.execute_async_script(IMAGE % call, picture, size) == resize_photo(bytes_, size).ravel().tolist()
        floats = rng.random((side, side)).astype(np.float32)
        call = "(image, v, side, size) => image.paste(new Float32Array(v), side, [-3, 5, size], 60, 70)"
        mask = page.execute_async_script(IMAGE % call, floats.ravel().tolist(), side, size)
        assert mask == paste(floats, (-3, 5, size), (70, 60)).astype(int).ravel().tolist()
    call = "(image, values) => values.map(image.round)"
    values = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4999, 2.5001, -0.2, 7]
    assert page.execute_async_script(IMAGE % call, values) == [round(value) for value in values]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_its_window_is_accessible_and_loads_less_than_15_megabytes(site, browser, page, width, dark):
    from axe_core_python.selenium import Axe

    site.sent.clear()
    browser.execute_cdp_cmd("Network.clearBrowserCache", {})
    open_page(browser, site, width, dark)
    browser.execute_script("document.querySelector('#examples button').click()")
    wait(browser, lambda d: d.execute_script(LABELS), "the example has no result")
    print(width, f"{sum(site.sent.values()) / 1e6:.2f} MB", sorted(site.sent))
    assert 9e6 < sum(site.sent.values()) < 15e6
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert len(browser.find_elements("css selector", "#legend li")) == 4
    assert not browser.find_element("id", "loading").is_displayed()
    violations = Axe().run(browser)["violations"]
    grave = [(v["id"], [n["html"] for n in v["nodes"]]) for v in violations if v["impact"] in ("serious", "critical")]
    assert not grave, grave


def test_keyboard_reaches_every_control_and_opacity_only_redraws(page, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.execute_script("document.querySelector('#examples button').click()")
    wait(page, lambda d: d.execute_script(LABELS), "the example has no result")
    page.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = set()
    for _ in range(14):
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached.add(page.execute_script("return document.activeElement.id || document.activeElement.tagName"))
    assert {"file", "kind", "whole", "opacity", "BUTTON", "INPUT", "A"} <= reached
    before = page.execute_script("return document.getElementById('canvas').toDataURL()")
    page.execute_script("window.partsResult = null")
    page.find_element("id", "opacity").send_keys(Keys.ARROW_LEFT)
    assert page.execute_script("return document.getElementById('canvas').toDataURL()") != before
    assert page.execute_script("return window.partsResult") is None


def test_no_file_of_the_page_names_another_host():
    for path in (*PAGE.glob("*.html"), *PAGE.glob("*.css"), *PAGE.glob("*.js")):
        assert not re.search(r"(https?:)?//[\w-]+\.\w", path.read_text(encoding="utf-8")), path


def test_runtime_is_the_one_whose_hashes_are_written_down():
    table = (PAGE / "vendor" / "README.md").read_text(encoding="utf-8")
    files = [path for path in (PAGE / "vendor").iterdir() if path.name != "README.md"]
    assert len(files) == 3
    for path in files:
        assert f"| `{path.name}` |" in table
        assert hashlib.sha256(path.read_bytes()).hexdigest() in table, path
