"""The reproduction page is what its script makes of the measurements, and every one of them says where it is from."""

import json
from functools import partial
from types import SimpleNamespace

import pytest

from figures import reproduction
from partlib.runs.checkpoint import load_model


@pytest.fixture(scope="module")
def stored():
    return json.loads(reproduction.FILE.read_text(encoding="utf-8"))


def test_the_page_is_up_to_date(stored):
    page = reproduction.PAGE.read_text(encoding="utf-8")
    assert reproduction.page(stored) == page, "run python -m figures.reproduction table"


def test_every_measured_number_has_its_command_hardware_and_seeds(stored):
    assert stored["measured"]
    text = reproduction.measured_table(stored)
    for one in stored["measured"]:
        assert one["command"].startswith("python -m figures.reproduction ")
        assert "/" not in one["command"]  # no place on one machine
        assert f"* `{one['command']}` (torch {one['environment']['torch']}, {one['environment']['device']}" in text
        assert all(len(seeds) == len(one["seeds"]) for seeds in one["scores"].values())


def test_a_row_shows_mean_and_spread_over_the_seeds_and_a_dash_for_what_is_not_scored():
    scores = {"fg_nmi": 40.0, "fg_ari": 20.0, "nmi": 50.0, "ari": 60.0, "kp_001": None}
    entry = {
        **{"title": "birds, K = 4", "protocol": "cub", "reproduce_release": False, "command": "run", "seeds": [0, 1]},
        "environment": {"torch": "2", "device": "CPU"},
        "scores": {"annotated_masks": [scores, {**scores, "fg_nmi": 42.0}]},
    }
    row = reproduction.measured_table({"measured": [entry]}).splitlines()[2]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells == ["birds, K = 4", "cub", "annotated", "—", "—", "—", "—", "41.0 ± 1.4", "20.0", "50.0", "60.0"]


def test_a_measurement_replaces_the_old_one_of_its_kind(tmp_path, monkeypatch, demo_run):
    for name in ("FILE", "PAGE", "RESULTS"):
        copy = tmp_path / getattr(reproduction, name).name
        copy.write_text(getattr(reproduction, name).read_text(encoding="utf-8"), encoding="utf-8")
        monkeypatch.setattr(reproduction, name, copy)
    segmenter, config = load_model(demo_run)
    monkeypatch.setattr(reproduction, "load_dataset", partial(reproduction.load_dataset, num_images=16))
    monkeypatch.setattr(reproduction, "load_or_train", lambda _: SimpleNamespace(segmenter=segmenter, config=config))
    monkeypatch.setattr("sys.argv", ["reproduction", "formats", "--preset", "ci", "--seeds", "0"])
    before = json.loads(reproduction.FILE.read_text(encoding="utf-8"))["measured"]
    reproduction.main()
    after = json.loads(reproduction.FILE.read_text(encoding="utf-8"))["measured"]
    assert [one["title"] for one in after] == [one["title"] for one in before]
    changed = [one for one in after if one not in before]
    assert [one["protocol"] for one in changed] == ["cub", "deepfashion", "pascal-part"]
    assert {one["command"] for one in changed} == {"python -m figures.reproduction formats --preset ci --seeds 0"}
    assert changed[0]["command"] in reproduction.PAGE.read_text(encoding="utf-8")
