"""The reproduction page is what its script makes of its data, and no cell of it is empty or a guess."""

import importlib.util
import json

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("reproduction", REPOSITORY / "figures" / "reproduction.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stored(script):
    return json.loads(script.FILE.read_text(encoding="utf-8"))


def test_the_page_is_up_to_date(script):
    assert script.page() == script.PAGE.read_text(encoding="utf-8"), "run python figures/reproduction.py table"


def test_every_published_number_has_a_source_and_every_row_of_ours_says_what_it_needs(stored, script):
    for one in stored["published"]:
        for row in one["rows"]:
            assert ("values" in row) != ("needs" in row)
            if "values" in row:
                assert row["name"] in stored["sources"]
                assert set(row["values"]) <= set(one["columns"])
                assert all(-100 <= float(value) <= 100 for value in row["values"].values())
            else:
                assert row["name"].startswith("ours")
                assert len(row["needs"]) > 20
    for line in script.published_tables(stored).splitlines():
        if line.startswith("| ours"):
            assert all(cell.strip().startswith("not run: needs (") for cell in line.split("|")[2:-1])


def test_every_measured_number_has_its_command_hardware_and_seeds(stored, script):
    assert stored["measured"]
    text = script.measured_table(stored)
    for one in stored["measured"]:
        assert one["command"].startswith("python figures/reproduction.py ")
        assert "/" not in one["command"].replace("figures/reproduction.py", "")  # no place on one machine
        assert one["environment"]["device"]
        assert one["environment"]["torch"]
        assert f"* `{one['command']}` (torch {one['environment']['torch']}, {one['environment']['device']}" in text
        for seeds in one["scores"].values():
            assert len(seeds) == len(one["seeds"])


def test_a_row_shows_mean_and_spread_over_the_seeds_and_a_dash_for_what_is_not_scored(script):
    scores = {"fg_nmi": 40.0, "fg_ari": 20.0, "nmi": 50.0, "ari": 60.0, "kp_001": None}
    entry = {
        **{"title": "birds, K = 4", "protocol": "cub", "reproduce_release": False, "command": "run", "seeds": [0, 1]},
        "environment": {"torch": "2", "device": "CPU"},
        "scores": {"annotated_masks": [scores, {**scores, "fg_nmi": 42.0}]},
    }
    row = script.measured_table({"measured": [entry]}).splitlines()[2]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells == ["birds, K = 4", "cub", "annotated", "—", "—", "—", "—", "41.0 ± 1.4", "20.0", "50.0", "60.0"]


def test_a_new_measurement_replaces_the_old_one_of_the_same_kind(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "FILE", tmp_path / "reproduction.json")
    old, other, new = (
        {"title": title, "protocol": "cub", "reproduce_release": False, "seeds": seeds}
        for title, seeds in (("a", [0]), ("b", [0]), ("a", [1]))
    )
    script.FILE.write_text(json.dumps({"sources": {}, "published": [], "measured": [old, other]}))
    script.store([new])
    assert json.loads(script.FILE.read_text())["measured"] == [new, other]
