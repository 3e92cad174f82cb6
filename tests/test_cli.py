"""The command line: every command runs, every mistake is one line, every option of the configuration is there."""

import dataclasses
import json
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_post_hook

from partlib import TrainConfig
from partlib.cli import main
from partlib.config import PRESETS
from partlib.data import DATASETS
from partlib.report.baselines import BASELINES
from partlib.runs.checkpoint import load_model
from tests.conftest import REPOSITORY

COMMANDS = ("train", "demo", "evaluate", "masks", "foreground", "segment", "convert", "data", "info")
TINY = shlex.split(
    "--preset ci --image-size 32 --feature-size 32 --num-images 12 --batch-size 4 --steps 2 --eval-every 0"
)
pytestmark = pytest.mark.filterwarnings("ignore:step .* holds less than:UserWarning")


@pytest.fixture
def run(capsys):
    """Command line -> (exit code, standard output, standard error)."""

    def call(*arguments):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "photo.png")
    mask = np.zeros((40, 60), np.uint8)
    mask[5:30, 10:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path / "photo.png"


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "partlib", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: partlib")
    assert all(f"\n    {command}" in done.stdout for command in COMMANDS)
    assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_an_example(command, run):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"example:\n  partlib {command}" in out


def test_every_field_of_the_configuration_is_an_option(run):
    for command in ("train", "demo"):
        _, out, _ = run(command, "--help")
        assert all(f"--{f.name.replace('_', '-')}" in out for f in dataclasses.fields(TrainConfig))


def test_train_writes_a_run_with_the_options_given(run, bird_folder, tmp_path):
    options = shlex.split("--lambda-visual 2 --feature-layers stride32 stride16 --lr 0.002")
    code, out, _ = run("train", "--data", "folder", "--root", bird_folder, "--out", tmp_path / "run", *TINY, *options)
    assert code == 0
    assert str(tmp_path / "run") in out
    config = load_model(tmp_path / "run")[1]
    assert (config.lambda_visual, config.lr) == (2.0, 0.002)
    assert config.feature_layers == ("stride32", "stride16")
    assert config.checkpoint_every == TrainConfig.preset("ci").checkpoint_every


def test_without_a_preset_train_takes_the_recipe_with_a_frozen_encoder(run, bird_folder, tmp_path):
    small = [*TINY[2:], "--starts", 1]
    assert run("train", "--data", "folder", "--root", bird_folder, "--out", tmp_path / "folder", *small)[0] == 0
    config = load_model(tmp_path / "folder")[1]
    assert (config.arch, config.views) == (TrainConfig.arch, TrainConfig.views)


def test_options_of_the_first_edition_are_understood_or_refused_in_one_line(run, bird_folder, tmp_path):
    where = ["train", "--data", "folder", "--root", bird_folder, "--out", tmp_path / "run", *TINY]
    assert run(*where, "--visual", 2, "--start-losses", "feature", "visual", "--pretrained", "no")[0] == 0
    config = load_model(tmp_path / "run")[1]
    assert (config.lambda_visual, config.select_by) == (2.0, ("feature", "visual"))
    assert (config.arch, config.feature_network) == ("fpn_lite0:random", "efficientnet_lite0:random")
    code, _, err = run(*where, "--lab-scale", 7)
    assert code == 1
    assert "lab_scale = 7.0 was an option of the first edition" in err
    assert "--preset paper" in err


def test_train_resumes_only_when_asked_to(run, bird_folder, tmp_path):
    arguments = ["train", "--data", "folder", "--root", bird_folder, "--out", tmp_path / "run", *TINY]
    assert run(*arguments)[0] == 0
    code, _, err = run(*arguments)
    assert code == 1
    assert "holds a run already; pass --resume" in err
    assert run(*arguments, "--resume")[0] == 0
    code, _, err = run(*arguments, "--resume", "--seed", 4)
    assert code == 1
    assert "seed is 0 there and 4 here" in err


def test_evaluate_prints_a_table_and_writes_the_scores(run, demo_run, tmp_path):
    files = ["--json", tmp_path / "scores.json", "--picture", tmp_path / "grid.png"]
    code, out, _ = run("evaluate", demo_run, "--baselines", *files)
    assert code == 0
    assert "FG-NMI" in out
    assert all(name in out for name in (*BASELINES, "ours"))
    scores = json.loads((tmp_path / "scores.json").read_text())
    expected = json.loads((demo_run / "metrics.json").read_text())
    assert scores["ours"] == pytest.approx(expected["ours"], abs=1e-6)
    assert scores["baselines"].keys() == expected["baselines"].keys()
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width > 300


def test_evaluate_takes_another_split_and_scores_ours_alone(run, demo_run, tmp_path):
    code, out, _ = run("evaluate", demo_run, "--split", "val", "--json", tmp_path / "a" / "scores.json")
    assert code == 0
    assert "position" not in out
    scores = json.loads((tmp_path / "a" / "scores.json").read_text())
    assert (scores["split"], scores["baselines"]) == ("val", {})


def test_segment_writes_label_maps_and_overlays(run, demo_run, photo, tmp_path):
    code, out, _ = run("segment", demo_run, photo, "--mask", photo.with_name("mask.png"), "--out", tmp_path / "parts")
    assert code == 0
    assert out.split() == [str(tmp_path / "parts" / name) for name in ("photo-parts.png", "photo-overlay.png")]
    with Image.open(tmp_path / "parts" / "photo-parts.png") as parts, Image.open(photo.with_name("mask.png")) as mask:
        assert np.array_equal(np.asarray(parts) > 0, np.asarray(mask) > 0)


def test_data_info_counts_images_and_parts(run, bird_folder):
    code, out, _ = run("data", "info", "folder", "--root", bird_folder, "--image-size", "32")
    assert code == 0
    counts = [int(line.split()[1]) for line in out.splitlines() if line.endswith(" images")]
    assert sum(counts) == 40
    assert len(counts) == 3
    shares = [line.split()[-3:] for line in out.splitlines() if line.count("%") == 3]
    assert len(shares) == 7
    for split in range(3):
        assert sum(float(row[split].rstrip("%")) for row in shares) == pytest.approx(100, abs=0.5)
    assert str(bird_folder) in out


def test_info_names_versions_presets_and_data_sets(run):
    code, out, _ = run("info")
    assert code == 0
    assert all(word in out for word in ("torch", "device", *PRESETS, *DATASETS))


MISTAKES = {
    "unknown preset": (["train", "--out", "OUT", "--preset", "tpu"], "preset 'tpu' is unknown"),
    "unknown data set": (["train", "--out", "OUT", "--data", "fish"], "data set 'fish' is unknown"),
    "impossible value": (["train", "--out", "OUT", "--steps", "0"], "steps is 0; expected at least 1"),
    "unknown backbone": (["train", "--out", "OUT", "--root", "ROOT", "--data", "folder", "--backbone", "vit"], "'vit'"),
    "unknown device": (["train", "--out", "OUT", "--root", "ROOT", "--data", "folder", "--device", "abacus"], "abacus"),
    "folder without root": (["train", "--out", "OUT", "--data", "folder"], "needs its folder: give --root FOLDER"),
    "nothing to resume": (["train", "--out", "OUT", "--resume"], "--resume: OUT holds no run; check the name"),
    "seed of a clock": (["train", "--out", "OUT", "--seed", "1764171234567890123"], "expected at most 1000000000"),
    "too many parts": (["train", "--out", "OUT", "--num-parts", "300"], "num_parts is 300; expected at most 255"),
    "missing data": (["train", "--out", "OUT", "--data", "folder", "--root", "OUT/data"], "is not a folder"),
    "missing photographs": (["data", "info", "ccp", "--root", "OUT"], "OUT"),
    "nothing to download": (["data", "download", "birds"], "nothing to download"),
    "missing run": (["evaluate", "OUT"], "does not exist; train first"),
    "unknown split": (["evaluate", "RUN", "--split", "dev"], "split 'dev' is unknown"),
    "unknown data option": (
        ["data", "info", "birds", "--data-options", "sed=1"],
        "data option 'sed=1': expected key=value; birds has these keys:",
    ),
    "data option of another kind": (
        ["train", "--out", "OUT", "--data-options", "seed=x"],
        "seed is 'x'; expected a whole",
    ),
    "unknown protocol": (
        ["evaluate", "RUN", "--protocol", "coco"],
        "--protocol coco cannot score 'folder'; expected one of cub,",
    ),
    "no keypoints": (["evaluate", "RUN", "--protocol", "cub"], "'folder' has no keypoints with boxes"),
    "another protocol's data": (
        ["evaluate", "RUN", "--protocol", "deepfashion"],
        "--protocol deepfashion cannot score 'folder'",
    ),
    "no masks": (["evaluate", "RUN", "--masks", "OUT"], "OUT is not a folder; expected one with a PNG per image"),
    "protocol and baselines": (["evaluate", "RUN", "--protocol", "cub", "--baselines"], "--baselines does not go with"),
    "foreground of nothing": (
        ["foreground", "--data", "folder", "--root", "FILE", "--out", "OUT/x"],
        "is not a folder",
    ),
    "missing photo": (["segment", "RUN", "nowhere.jpg", "--out", "OUT"], "nowhere.jpg"),
    "masks do not fit": (["segment", "RUN", "a.jpg", "b.jpg", "--mask", "m.png"], "names 1 files for 2 images"),
    "output is a file": (["evaluate", "RUN", "--split", "val", "--json", "FILE/scores.json"], "FILE"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_one(mistake, run, demo_run, bird_folder, tmp_path):
    (tmp_path / "file").write_text("")
    places = {"OUT": tmp_path / "out", "RUN": demo_run, "ROOT": bird_folder, "FILE": tmp_path / "file"}
    arguments, message = MISTAKES[mistake]
    for word, place in places.items():
        arguments = [a.replace(word, str(place)) for a in arguments]
        message = message.replace(word, str(place))
    code, _, err = run(*arguments)
    lines = [line for line in err.splitlines() if line.startswith("partlib: ")]
    assert code == 1
    assert len(lines) == 1
    assert err.rstrip().endswith(lines[0])
    assert message in lines[0]
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: command"),
        (["train"], "required: --out"),
        (["train", "--out", "x", "--stepz", "3"], "unrecognized arguments: --stepz 3"),
        (["train", "--out", "x", "--steps", "many"], "--steps: invalid int value: 'many'"),
        (["train", "--out", "x", "--pretrained", "perhaps"], "'perhaps' is neither true nor false"),
        (["fly"], "invalid choice: 'fly'"),
    ],
)
def test_arguments_that_do_not_parse_are_one_line_too(arguments, message, run):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert "--help" in err


@pytest.mark.parametrize(("text", "value"), [("No", False), ("0", False), ("yes", True)])
def test_booleans_are_words(text, value, run, demo_run):
    where = ["--data", "folder", "--root", load_model(demo_run)[1].root, "--out", demo_run, "--resume"]
    _, _, err = run("train", *where, *TINY, "--pretrained", text)
    assert ("arch is 'fpn_lite0' there and 'fpn_lite0:random' here" in err) == (not value)
    assert "steps is 4 there and 2 here" in err


def test_an_interruption_exits_with_130(run, bird_folder, tmp_path):
    hook = register_optimizer_step_post_hook(lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        code, out, _ = run("train", "--data", "folder", "--root", bird_folder, "--out", tmp_path / "run", *TINY)
    finally:
        hook.remove()
    assert code == 130
    assert f"interrupted; --resume --out {tmp_path / 'run'} goes on from the last checkpoint" in out


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_can_complete_commands_and_options(shell, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--print-completion", shell])
    assert stopped.value.code == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("segment", "--lambda-visual", "export"))


def test_every_option_is_explained():
    from partlib import cli

    parsers = next(a.choices for a in cli._parser()._actions if isinstance(a.choices, dict))
    assert {"train", "segment", "export", "course"} <= set(parsers)
    for name, parser in parsers.items():
        for action in parser._actions:
            assert action.help, f"{name} {action.dest}"
