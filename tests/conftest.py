"""Shared by all tests: where the golden values and the optional photographs are, and a cache that tests share."""

import os
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden():
    """Function name -> dict of arrays of ``tests/golden/<name>.npz``."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as stored:
            return dict(stored)

    return load


@pytest.fixture(scope="session")
def ccp_root() -> Path:
    """Folder of the Clothing Co-Parsing photographs; skips the test where there is none."""
    places = [Path(p) for p in (os.environ.get("PARTLIB_DATA"),) if p]
    places += [REPOSITORY / "data", REPOSITORY.parent / "shared" / "data"]
    for place in places:
        if (place / "clothing-co-parsing" / "photos").is_dir():
            return place / "clothing-co-parsing"
    pytest.skip("the Clothing Co-Parsing photographs are not in $PARTLIB_DATA, data/ or ../shared/data/")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Tests never read or write the user's caches; they share one of their own for the session."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("PARTLIB_CACHE", str(folder))
    return folder
