"""Shared by all tests: where the golden values and the optional photographs are, and a cache that tests share."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from partlib.cli import main
from partlib.data import birds

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """Function name -> dict of arrays of ``tests/golden/<name>.npz``."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as stored:
            return dict(stored)

    return load


def shared(folder: str, inside: str) -> Path:
    """The folder of a data set on this machine; skips the test where there is none."""
    places = [Path(p) for p in (os.environ.get("PARTLIB_DATA"),) if p]
    for place in (*places, REPOSITORY / "data", REPOSITORY.parent / "shared" / "data"):
        if (place / folder / inside).exists():
            return place / folder
    pytest.skip(f"{folder} is not in $PARTLIB_DATA, data/ or ../shared/data/")


@pytest.fixture(scope="session")
def ccp_root() -> Path:
    return shared("clothing-co-parsing", "photos")


@pytest.fixture(scope="session")
def cub_root() -> Path:
    return shared("CUB_200_2011", "images.txt")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests never read or write the user's caches; they share one of their own for the session."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTLIB_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny_birds(own_cache):
    """16 training and 8 validation birds of 32 x 32 pixels."""
    return birds.load("train", None, 32, 16), birds.load("val", None, 32, 8)


@pytest.fixture(scope="session")
def bird_folder(own_cache, tmp_path_factory) -> Path:
    """A user's own folder: 40 birds as PNG files with their masks and parts."""
    root = tmp_path_factory.mktemp("folder")
    drawn = birds.load("train", None, 32, 40)
    for kind in ("images", "masks", "parts"):
        (root / kind).mkdir()
    for name, image, parts in zip(drawn.names, drawn.images, drawn.parts, strict=True):
        Image.fromarray(image).save(root / "images" / f"{name}.png")
        Image.fromarray((parts > 0).astype(np.uint8) * 255).save(root / "masks" / f"{name}.png")
        Image.fromarray(np.asarray(parts)).save(root / "parts" / f"{name}.png")
    (root / "parts.txt").write_text("\n".join(drawn.part_names))
    return root


@pytest.fixture(scope="session")
def demo_run(bird_folder, tmp_path_factory) -> Path:
    """Folder of a finished ``partlib demo``, as small as it can be: four steps on 16 images of 32 x 32 pixels."""
    out = tmp_path_factory.mktemp("runs") / "demo"
    small = {"image-size": 32, "feature-size": 32, "num-images": 16, "batch-size": 4, "steps": 4, "eval-every": 2}
    options = [text for name, value in small.items() for text in (f"--{name}", str(value))]
    where = ["--data", "folder", "--root", str(bird_folder), "--out", str(out)]
    assert main(["demo", "--preset", "ci", *where, *options]) == 0
    return out


@pytest.fixture(autouse=True)
def working_ctrl_c():
    """The usual handler: a shell's background job starts with SIGINT ignored and hands that on to what it runs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
