"""The protocols on images whose right answer is known, and from the paper's three file formats to the printed table."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from partlib import TrainConfig
from partlib.cli import main
from partlib.data import birds, load_dataset
from partlib.data.base import ArrayDataset
from partlib.data.cub import KEYPOINT_NAMES
from partlib.errors import ConfigError, DataError
from partlib.masks.predicted import PredictedForeground, save_masks
from partlib.paper.protocols import cub as cub_of_all
from partlib.paper.protocols import evaluate, network, on_data, table
from partlib.paper.protocols import pixels as pixels_of_all
from partlib.paths import masks_dir
from partlib.report.tables import evaluate as evaluate_pixels
from partlib.runs.build import Recipe
from partlib.runs.checkpoint import load_model
from partlib.segmenter import resize
from tests.export import export_cub, export_deepfashion, export_pascal_part

SIZE, PARTS = 32, 3
SCORES = ("fg_nmi", "fg_ari", "nmi", "ari")


class ByColor(nn.Module):
    """Part k is what is bright in channel k - 1: right on the painted images below."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(50.0))

    def encoder(self, images):
        return images * self.scale

    def decoder(self, levels):
        return levels


def painted(count, seed, split="test"):
    """Images with three colored blocks on black. Keypoint 1 is the middle of the three blocks, keypoint 2 its mirror
    image; the others are invisible. The box is the whole image."""
    rng = np.random.default_rng(seed)
    parts = np.zeros((count, SIZE, SIZE), np.uint8)
    keypoints = np.zeros((count, 15, 3), np.float32)
    for i in range(count):
        corners = rng.integers(0, [20, 6], (3, 2)) + np.array([[0, 0], [0, 11], [0, 22]])  # (3, 2): top, left
        for k, (top, left) in enumerate(corners, 1):
            parts[i, top : top + 8, left : left + 4] = k
        middle = (corners[:, ::-1] + [1.5, 3.5]).mean(axis=0)  # (x, y)
        keypoints[i, 0] = (*middle, 1)
        keypoints[i, 1] = (*(SIZE - 1 - middle), 1)
    images = np.stack([(parts == k) * np.uint8(255) for k in (1, 2, 3)], axis=-1)
    return ArrayDataset(
        *(images, None, parts, keypoints, np.arange(count) % 2, [f"{split}-{i}" for i in range(count)], f"p-{seed}"),
        name="painted",
        split=split,
        part_names=("red", "green", "blue"),
        keypoint_names=KEYPOINT_NAMES,
        boxes=np.tile(np.array([[0, 0, SIZE, SIZE]], np.float32), (count, 1)),
    )


def cub(train, test):
    """Scores of the painted images: ``test`` after a fit on ``train``."""
    return cub_of_all(network(ByColor()), train, [test])[0]


def pixels(segmenter, test):
    return pixels_of_all(network(segmenter), test)


@pytest.fixture(scope="module")
def train():
    return painted(12, 0, "train")


@pytest.fixture(scope="module")
def scored():
    return painted(7, 1)


def with_masks(dataset, masks, folder):
    save_masks(dataset, torch.from_numpy(masks.astype(np.float32)), folder)
    return PredictedForeground(dataset, folder)


def test_right_parts_score_100_on_pixels(scored):
    assert pixels(ByColor(), scored) == pytest.approx(dict.fromkeys(SCORES, 100))


def test_a_wrong_mask_lowers_the_full_scores_and_leaves_those_of_the_foreground(scored, tmp_path):
    truth = scored.parts > 0
    shifted = with_masks(scored, np.roll(truth, 1, axis=2), tmp_path)
    scores = pixels(ByColor(), shifted)
    assert (scores["fg_nmi"], scores["fg_ari"]) == pytest.approx((100, 100))
    assert 20 < scores["nmi"] < 80
    assert 20 < scores["ari"] < 90


def test_keypoints_that_follow_from_the_parts_have_no_error_and_a_moved_one_its_distance(train, scored):
    scores = cub([train], scored)
    assert scores["kp_all"] < 1e-3
    assert scores["kp_001"] < 1e-3
    assert scores["kp_003"] is None  # no such species among the images
    moved = painted(7, 1)
    moved.keypoints[:, 1, 0] += 0.1 * SIZE  # one of two keypoints, by a tenth of the box
    assert cub([train], moved)["kp_all"] == pytest.approx(5, abs=1e-3)
    moved.keypoints[moved.labels == 0, 1, 0] -= 0.1 * SIZE
    scores = cub([train], moved)
    assert scores["kp_001"] < 1e-3
    assert scores["kp_002"] == pytest.approx(5, abs=1e-3)


def test_the_regression_is_fitted_on_all_training_sets(train, scored):
    halves = [train.subset(list(range(6))), train.subset(list(range(6, 12)))]
    assert cub(halves, scored) == pytest.approx(cub([train], scored), nan_ok=True)


def test_keypoints_on_parts_of_their_own_score_100_and_a_mask_that_misses_one_lowers_the_full_score(train, tmp_path):
    dataset = painted(6, 2)
    for i in range(6):
        for k in (1, 2, 3):
            row, column = np.argwhere(dataset.parts[i] == k)[5]
            dataset.keypoints[i, k - 1] = (column, row, 1)
    scores = cub([train], dataset)
    assert [scores[name] for name in SCORES] == pytest.approx([100] * 4)
    predicted = with_masks(dataset, (dataset.parts > 0) & (np.arange(6) > 0)[:, None, None], tmp_path)
    scores = cub([train], predicted)
    assert (scores["fg_nmi"], scores["fg_ari"]) == pytest.approx((100, 100))
    assert 50 < scores["nmi"] < 99


def test_evaluation_leaves_the_segmenter_in_its_mode(scored):
    segmenter = ByColor().train()
    pixels(segmenter, scored)
    assert segmenter.training


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda data: cub([data], data), "has no keypoints with boxes, which protocol cub scores"),
        (lambda data: pixels(ByColor(), data), "has no part annotation.*use --protocol cub"),
    ],
)
def test_a_data_set_without_what_is_scored_is_named(score, message):
    bare = painted(2, 0)
    bare.part_names, bare.keypoint_names = (), ()
    with pytest.raises(DataError, match=message):
        score(bare)


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("coco", {}, "--protocol coco cannot score 'birds'; expected one of cub, pixels"),
        ("deepfashion", {}, "--protocol deepfashion cannot score 'birds'"),
        ("pixels", {"reproduce_release": True}, "drop --reproduce-release"),
    ],
)
def test_a_protocol_that_does_not_fit_is_named(protocol, options, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(ByColor(), TrainConfig(), protocol, **options)


@pytest.fixture(scope="module")
def drawn(own_cache):
    return birds.load("train", None, SIZE, 40), birds.load("test", None, SIZE, 16)


@pytest.fixture(scope="module")
def roots(drawn, tmp_path_factory):
    """The birds in the three formats."""
    place = tmp_path_factory.mktemp("formats")
    return {
        "cub": export_cub(drawn, place / "CUB_200_2011"),
        "deepfashion": export_deepfashion(drawn, place / "In-shop"),
        "pascal-part": export_pascal_part(drawn, place / "VOCdevkit", category="bird"),
    }


OPTIONS = {"cub": [], "deepfashion": [], "pascal-part": ["--data-options", "category=bird", "min_area=0"]}


@pytest.mark.parametrize("release", [[], ["--reproduce-release"]], ids=["default", "release"])
@pytest.mark.parametrize("name", OPTIONS)
def test_every_format_is_scored_from_files_to_table(name, release, roots, demo_run, tmp_path, capsys):
    files = ["--data", name, "--root", str(roots[name]), "--json", str(tmp_path / "scores.json")]
    arguments = ["evaluate", str(demo_run), "--protocol", name, *files, *OPTIONS[name], *release]
    assert main(arguments) == 0
    result = json.loads((tmp_path / "scores.json").read_text())
    assert (result["protocol"], result["data"], result["num_images"]) == (name, name, 16)
    scores = result["annotated_masks"]
    assert set(SCORES) <= set(scores)
    assert all(-50 <= scores[s] <= 100 for s in SCORES)
    assert (scores.get("kp_all") is not None) == (name == "cub")
    assert result["reproduce_release"] == bool(release)
    assert result["predicted_masks"] is None
    printed = capsys.readouterr().out
    assert f"16 images, K = 4, seed 0; protocol {name}" in printed
    assert f"{scores['fg_nmi']:.1f}" in printed
    assert ("conventions of the release" in printed) == bool(release)


@pytest.mark.parametrize("name", ["cub", "deepfashion"])
def test_the_conventions_of_the_release_change_the_scores(name, roots, demo_run):
    segmenter, config = load_model(demo_run)
    config = on_data(config, name, str(roots[name]))
    ours, release = (evaluate(segmenter, config, reproduce_release=flag) for flag in (False, True))
    keys = [k for k in ours["annotated_masks"] if ours["annotated_masks"][k] is not None]
    differences = [abs(ours["annotated_masks"][k] - release["annotated_masks"][k]) for k in keys]
    assert 1e-6 < max(differences) < 25


def test_pixels_agree_with_evaluate_and_are_the_usual_protocol_of_birds(demo_run, drawn):
    segmenter, config = load_model(demo_run)
    result = evaluate(segmenter, on_data(config, "birds", options=["num_images=16"]))
    expected = evaluate_pixels(segmenter, config, drawn[1]).metrics["ours"]
    assert result["protocol"] == "pixels"
    assert result["annotated_masks"] == pytest.approx(expected, abs=0.1)  # rounding may move a pixel on a border


def test_predicted_masks_are_scored_beside_annotated_ones(demo_run, drawn, tmp_path):
    segmenter, config = load_model(demo_run)
    truth = torch.from_numpy((drawn[1].parts > 0).astype(np.float32))  # (16, H, W)
    save_masks(drawn[1], torch.roll(truth, 2, dims=2), tmp_path)
    config = on_data(config, "birds", options=["num_images=16"])
    for protocol in ("pixels", "cub"):
        result = evaluate(segmenter, config, protocol, masks=tmp_path)
        annotated, predicted = result["annotated_masks"], result["predicted_masks"]
        assert 50 < predicted["mean_iou"] < 95
        assert predicted["fg_nmi"] == annotated["fg_nmi"]
        assert abs(predicted["nmi"] - annotated["nmi"]) > 0.1
        lines = table(result).splitlines()
        assert lines[2].startswith("annotated masks  ")
        assert lines[3].startswith(f"predicted masks (IoU {predicted['mean_iou']:.1f})")


def test_the_masks_of_the_foreground_command_are_scored_by_the_evaluate_command(roots, demo_run, tmp_path, capsys):
    where = ["--data", "cub", "--root", str(roots["cub"])]
    size = ["--image-size", str(SIZE), "--batch-size", "4", "--steps", "4"]
    assert main(["foreground", *where, *size, "--out", str(tmp_path / "fg")]) == 0
    assert {f"{name}.png" for name in load_dataset("cub", "test", roots["cub"], SIZE).names} == {
        file.relative_to(tmp_path / "fg" / "masks").as_posix() for file in (tmp_path / "fg" / "masks").rglob("*.png")
    }
    files = ["--masks", str(tmp_path / "fg" / "masks"), "--json", str(tmp_path / "scores.json")]
    assert main(["evaluate", str(demo_run), *where, *files]) == 0
    result = json.loads((tmp_path / "scores.json").read_text())
    assert result["protocol"] == "cub"
    stored = json.loads((tmp_path / "fg" / "metrics.json").read_text())["mean_iou"]["test"]
    assert result["predicted_masks"]["mean_iou"] == pytest.approx(stored, abs=5)  # through PNGs of another size
    assert result["predicted_masks"]["fg_nmi"] == result["annotated_masks"]["fg_nmi"]
    assert "predicted masks (IoU " in capsys.readouterr().out


@pytest.mark.parametrize("place", ["boxes", "folder"])
def test_masks_in_the_options_of_a_run_are_its_own_and_called_derived(roots, demo_run, tmp_path, monkeypatch, place):
    monkeypatch.setenv("PARTLIB_RUNS", str(tmp_path))
    folder = shutil.copytree(roots["cub"] / "segmentations", masks_dir("cub") / "masks")
    segmenter, config = load_model(demo_run)
    plain = evaluate(segmenter, on_data(config, "cub", str(roots["cub"])))
    monkeypatch.setattr("partlib.data.cub.find_segmentations", None)  # annotated masks are not asked for
    config = on_data(config, "cub", str(roots["cub"]), [f"masks={folder if place == 'folder' else place}"])
    result = evaluate(segmenter, config)
    assert result["derived_masks"] == plain["annotated_masks"]
    assert "annotated_masks" not in result
    assert table(result).splitlines()[2].startswith("derived masks  ")


def test_training_stores_the_options_and_evaluation_takes_them_up(roots, tmp_path, capsys):
    root = roots["cub"]
    labels = {split: load_dataset("cub", split, root, SIZE).labels for split in ("train", "val", "test")}
    chosen = sorted({*labels["val"][:2], *labels["train"][:4], *labels["test"][:3]})
    option = "classes=" + ",".join(str(label + 1) for label in chosen)
    sizes = ["--image-size", str(SIZE), "--feature-size", "32", "--batch-size", "3", "--steps", "1"]
    where = ["--data", "cub", "--root", str(root), "--data-options", option, "--out", str(tmp_path / "run")]
    assert main(["train", "--preset", "ci", *where, *sizes, "--eval-every", "0"]) == 0
    segmenter, config = load_model(tmp_path / "run")
    assert config.data_options == (option,)
    assert set(Recipe(config).dataset().labels) <= set(chosen)
    count = int(np.isin(labels["test"], chosen).sum())
    assert 0 < count < 16
    assert evaluate(segmenter, config)["num_images"] == count
    capsys.readouterr()
    assert main(["data", "info", "cub", "--root", str(root), "--image-size", "32", "--data-options", option]) == 0
    assert f"test  {count:6} images" in capsys.readouterr().out


def test_another_data_set_does_not_inherit_the_options_of_the_run():
    config = TrainConfig(data="cub", root="somewhere", data_options=("classes=1", "padding=0.1"))
    own, other = on_data(config, options=["classes=2"]), on_data(config, "birds")
    assert (own.data_options, own.root) == (("classes=2", "padding=0.1"), "somewhere")
    assert (other.data, other.data_options, other.root) == ("birds", (), "")


def test_the_logits_are_those_of_the_segmenter(demo_run, drawn):
    """The protocols upsample the decoder's output themselves; by default that must be what ``forward`` does."""
    segmenter, _ = load_model(demo_run)
    images = torch.stack([drawn[1][i].image for i in range(2)])
    with torch.no_grad():
        low = segmenter.decoder(segmenter.encoder(images))
        torch.testing.assert_close(resize(low, images.shape[-2:]), segmenter(images), rtol=1e-4, atol=1e-4)
