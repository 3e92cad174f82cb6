"""The committed results are complete and read the same as they were written."""

import json
import statistics

import pytest
from partlib_course import notebook, stored_results

from partlib import TrainConfig
from partlib.errors import DataError
from partlib.presets import default_preset

NAMES = ("birds-k4", "ccp-k4", "ccp-k8")


@pytest.mark.parametrize("name", NAMES)
def test_results_name_command_versions_and_seeds(name):
    result = stored_results.stored_result(name)
    assert result["command"].startswith("python figures/results.py run")
    assert {"torch", "device", "partlib"} <= set(result["environment"])
    assert len(result["seeds"]) >= 3
    assert all(abs(sum(s["part_share"]) - 1) < 1e-6 for s in result["seeds"].values())


@pytest.mark.parametrize("name", NAMES)
def test_the_command_gives_the_stored_configuration(name):
    result = stored_results.stored_result(name)
    words = iter(result["command"].partition(" run ")[2].partition(" --seeds")[0].split())
    options = {option.removeprefix("--").replace("-", "_"): next(words) for option in words}
    kinds = {name: type(value) for name, value in TrainConfig().to_dict().items()}
    changes = {name: kinds[name](value) for name, value in options.items() if name != "preset"}
    asked = TrainConfig.preset(options.get("preset") or default_preset(options["data"]), **changes)
    assert not asked.differences(TrainConfig.from_dict(result["config"]).replace(seed=0))


def test_rows_are_means_over_seeds_with_the_best_baseline_second():
    result = stored_results.stored_result("birds-k4")
    rows = stored_results.result_rows(result)
    values = [s["ours"]["fg_nmi"] for s in result["seeds"].values()]
    assert rows["ours"] == (statistics.mean(values), statistics.stdev(values))
    means = [mean for mean, _ in list(rows.values())[1:]]
    assert means == sorted(means, reverse=True)


def test_the_table_has_the_rows_asked_for():
    results = {name: stored_results.stored_result(name) for name in NAMES}
    lines = stored_results.result_table(results, methods=2).splitlines()
    assert len(lines) == 1 + 2 * len(NAMES)
    assert sum("ours" in line for line in lines) == len(NAMES)


def test_one_seed_has_no_spread():
    mean, deviation = stored_results.spread([3.0])
    assert mean == 3
    assert deviation != deviation


def test_pictures_keep_their_shape():
    width, height = stored_results.stored_picture("birds-k4-best").get_size_inches()
    assert width == pytest.approx(6.6)
    assert 2 < height < 6


def test_a_missing_result_is_named(tmp_path):
    with pytest.raises(DataError, match=r"birds-k99\.json does not exist"):
        stored_results.stored_result("birds-k99", tmp_path)


def test_without_a_copy_of_the_repository_its_page_is_read(tmp_path, monkeypatch):
    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *exception):
            return None

        def read(self):
            return json.dumps({"address": asked[0]}).encode()

    asked = []
    monkeypatch.setattr(notebook, "repository_root", lambda: None)
    monkeypatch.setattr(stored_results, "urlopen", lambda address, timeout: asked.append(address) or Answer())
    address = stored_results.stored_result("birds-k4")["address"]
    assert address.endswith(f"{notebook.REPOSITORY}/{notebook.BRANCH}/figures/results/birds-k4.json")
