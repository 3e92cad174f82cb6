"""The script behind the table of CUB-200-2011, run whole on drawn birds in CUB's files; its tables and pictures."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from figures import cub, cub_pictures, cub_table, reproduction
from partlib.config import PRESETS
from partlib.data import birds
from partlib.paper.protocols import COLUMNS, evaluate
from partlib.paths import masks_dir
from partlib.runs.checkpoint import load_model
from tests.export import export_cub

STORED = cub.FILE  # of the repository; tests below measure into another
TINY = {"image_size": 64, "feature_size": 64, "steps": 4, "batch_size": 4, "starts": 1, "loss_size": 32, "log_every": 2}
ROWS = ["ours", "concentration and equivariance", "feature k-means", cub.RANDOM, cub.NOTHING]


@pytest.fixture(scope="module")
def measured(own_cache, tmp_path_factory):
    """Two seeds of some rows, of drawn birds whose masks count as derived."""
    place = tmp_path_factory.mktemp("cub")
    drawn = [birds.load(split, None, 64, number) for split, number in (("train", 48), ("test", 24))]
    root = export_cub(drawn, place / "CUB_200_2011")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARTLIB_RUNS", str(place / "runs"))
        patch.setattr(cub, "FILE", place / "results" / "scores.json")
        patch.setattr(cub_pictures, "FILE", cub.FILE)
        patch.setitem(PRESETS, "cub", {**PRESETS["cub"], **TINY})
        shutil.copytree(root / "segmentations", masks_dir("cub") / "masks")
        shutil.rmtree(root / "segmentations")
        data = cub.measure(str(root), [0, 1], ROWS)
        yield data, cub.stored(), root, place


@pytest.mark.slow
def test_every_row_has_all_scores_and_those_of_the_evaluate_command(measured):
    _data, scores, _root, place = measured
    assert list(scores) == ROWS
    for title, found in scores.items():
        assert list(found) == ["0", "1"]
        for one in found.values():
            assert set(COLUMNS) <= set(one)
            assert one["kp_all"] > 0
            assert ("part_share" in one) == (title != cub.NOTHING)
            assert sum(one.get("part_share", [1])) == pytest.approx(1)
    segmenter, config = load_model(next((place / "runs").glob("cub-k4-*[0-9a-f]")))
    result = evaluate(segmenter, config)["derived_masks"]
    expected = scores["ours"][str(config.seed)]
    for name in COLUMNS:  # the encoder's maps were kept as halves
        assert result[name] is expected[name] is None or result[name] == pytest.approx(expected[name], abs=0.5)


@pytest.mark.slow
def test_what_is_stored_is_not_measured_again(measured, monkeypatch):
    _, scores, root, _ = measured
    monkeypatch.setattr(cub, "one", None)
    cub.measure(str(root), [0, 1], ROWS)
    assert cub.stored() == scores


@pytest.mark.slow
def test_one_part_knows_no_segmentation_and_the_mean_keypoint_does_not_depend_on_seeds(measured):
    nothing = measured[1][cub.NOTHING]
    assert nothing["0"]["fg_nmi"] == pytest.approx(0, abs=1e-6)
    assert nothing["0"]["kp_all"] == nothing["1"]["kp_all"] < 30


@pytest.mark.slow
def test_pictures_show_no_photograph(measured):
    data, _scores, _, place = measured
    cub_pictures.draw(data)
    for name in ("parts", "keypoints", "scatter"):
        assert Image.open(place / "results" / f"{name}.png").width > 500
    image = data.sets["test"][0].image
    white = cub_pictures.colored(cub_pictures.labels_of(data, cub_pictures.network(data, 0), [0])[0])
    assert len(np.unique(white.reshape(-1, 3), axis=0)) <= 5 < len(np.unique(image.flatten(1).T, axis=0))


@pytest.mark.slow
def test_the_maps_of_some_images_are_those_of_these_images(measured):
    data = measured[0]
    whole, some = (
        data.maps(images).batch([0, 1]) for images in (data.sets["train"], data.sets["train"].subset([2, 5]))
    )
    expected = data.maps(data.sets["train"]).batch([2, 5])
    assert all(torch.allclose(a, b, atol=0.05) for a, b in zip(some, expected, strict=True))
    assert not torch.allclose(some[0], whole[0], atol=0.05)


def test_tables_are_those_of_the_stored_scores():
    stored = cub.stored(STORED)
    text = reproduction.PAGE.read_text(encoding="utf-8")
    for part in (
        cub_table.table(stored),
        cub_table.pixels(stored),
        cub_table.correlations(stored, cub.stored(cub.TRIALS)),
    ):
        assert part in text
    assert cub_table.table(stored) in reproduction.RESULTS.read_text(encoding="utf-8")
    assert len(stored["ours"]) == 5
    assert "/" not in json.dumps(stored)  # no place on one machine


def test_rank_correlation_is_one_where_regression_tracks_segmentation_and_uncertain_where_rows_are_few():
    rows = [[{"kp_all": 20.0 - n - s, "fg_nmi": 30.0 + n + s} for s in (0.0, 0.1)] for n in range(8)]
    assert cub_table.rank_correlation(rows, "fg_nmi") == pytest.approx((1, 1, 1))
    turned = [[{**one, "fg_nmi": -one["fg_nmi"]} for one in found] for found in rows]
    assert cub_table.rank_correlation(turned, "fg_nmi")[0] == pytest.approx(-1)
    rng = np.random.default_rng(0)
    chance = [[{"kp_all": rng.random(), "fg_nmi": rng.random()}] for _ in range(12)]
    rho, low, high = cub_table.rank_correlation(chance, "fg_nmi")
    assert low < rho < high
    assert high - low > 0.5
