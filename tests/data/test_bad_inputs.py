"""Each way in which files of a data set are known to break gives one line that names the file and says what to do."""

import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from partlib.data import birds, cub, fetch
from partlib.data.summary import describe
from partlib.errors import DataError
from tests.export import export_cub, export_deepfashion, export_pascal_part

SIZE = 32
REMEDY = re.compile(r"\b(download|unpack|correct|add|remove|take|use|point|ask|set|copy|upgrade|delete)\b")


@pytest.fixture(scope="module")
def exported(own_cache, tmp_path_factory):
    drawn = birds.load("train", None, SIZE, 20), birds.load("test", None, SIZE, 4)
    place = tmp_path_factory.mktemp("formats")
    return {
        "cub": export_cub(drawn, place / "cub"),
        "deepfashion": export_deepfashion(drawn, place / "deepfashion"),
        "pascal-part": export_pascal_part(drawn, place / "pascal"),
    }


def first(root, pattern):
    return sorted(root.rglob(pattern))[0]


def unlink(pattern):
    return lambda root: first(root, pattern).unlink()


def foreign_color(root):
    path = first(root, "test-*_segment.png")
    pixels = np.array(Image.open(path))
    pixels[3, 3] = (1, 2, 3)
    Image.fromarray(pixels).save(path)


def cut(root):
    path = sorted((root / "Annotations_Part").glob("*.mat"))[-1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def outside(root):
    path = root / "parts" / "part_locs.txt"
    path.write_text(re.sub(r"^21 2 .*$", "21 2 900.0 10.0 1", path.read_text(), flags=re.MULTILINE))


BROKEN = {
    "missing list, CUB": ("cub", unlink("bounding_boxes.txt"), "bounding_boxes.txt"),
    "missing list, DeepFashion": ("deepfashion", unlink("*_train.json"), "_train.json"),
    "missing list, PASCAL-Part": ("pascal-part", unlink("bird_train.txt"), "bird_train.txt"),
    "image without annotation, CUB": ("cub", unlink("segmentations/**/test-*.png"), ".png is missing"),
    "image without annotation, DeepFashion": ("deepfashion", unlink("test-*_segment.png"), "_segment.png is missing"),
    "image without annotation, PASCAL-Part": ("pascal-part", unlink("2010_*.mat"), ".mat is missing"),
    "unknown color": ("deepfashion", foreign_color, "color (1, 2, 3) at x 3, y 3"),
    "truncated .mat": ("pascal-part", cut, ".mat: expected a PASCAL-Part annotation"),
    "keypoint outside the image": ("cub", outside, "keypoint 'beak'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_data_set_gives_one_line_that_says_what_to_do(what, exported, tmp_path):
    name, damage, expected = BROKEN[what]
    root = shutil.copytree(exported[name], tmp_path / "copy")
    options = {"category": "bird", "min_area": 0.0} if name == "pascal-part" else {}
    damage(root)
    with pytest.raises(DataError) as caught:
        describe(name, root, SIZE, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert expected in message
    assert REMEDY.search(message.split(expected, 1)[1])


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Keep the test output quiet."""


@pytest.fixture
def address(tmp_path, monkeypatch):
    """Address of a local server of ``tmp_path / "www"``."""
    monkeypatch.setattr(fetch, "PAUSES", (0,) * 5)
    (tmp_path / "www").mkdir()
    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "www"))
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    ("content", "sha256", "expected"),
    [
        (b"<!DOCTYPE html><html>Over quota</html>", None, "not a whole archive"),
        (b"\x1f\x8b" + bytes(100), "0" * 64, "hash"),
    ],
    ids=["archive that is a web page", "checksum mismatch"],
)
def test_a_download_that_is_not_the_archive_gives_one_line_that_says_what_to_do(
    content, sha256, expected, address, tmp_path
):
    (tmp_path / "www" / "a.tgz").write_bytes(content)
    with pytest.raises(DataError) as caught:
        cub.download(tmp_path / "cub", [(f"{address}/a.tgz", sha256, "")])
    message = str(caught.value)
    assert "\n" not in message
    assert "a.tgz" in message
    assert expected in message
    assert REMEDY.search(message)
    assert not (tmp_path / "cub").exists()
