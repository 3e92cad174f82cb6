"""Set-up of the notebooks: preset, shared folders, paths that read the same everywhere, figures; stored results."""

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from partlib_course import notebook
from PIL import Image

from partlib import TrainConfig
from partlib.config import default_preset
from partlib.errors import ConfigError, DataError
from partlib.first_edition import current_fields
from partlib.report.plots import PART_COLORS

REPOSITORY = Path(__file__).resolve().parents[2]
RUNS = ("birds-k4", "ccp-k4", "ccp-k8")


def in_new_process(code: str, folder: Path, **variables: str) -> str:
    """Output of Python code; ``setup`` changes its process for good, so each test gives it one of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PARTLIB_", "TQDM_"))}
    command = [sys.executable, "-c", f"from partlib_course import notebook; notebook.setup(); {code}"]
    environment = {**inherited, "PARTLIB_PRESET": "cpu", **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("chosen", ["ci", "cpu", "gpu"])
def test_the_environment_chooses_the_preset(chosen, monkeypatch):
    monkeypatch.setenv("PARTLIB_PRESET", chosen)
    assert notebook.choose_preset() == chosen


@pytest.mark.parametrize(("has_gpu", "expected"), [(False, "cpu"), (True, "gpu")])
def test_otherwise_the_hardware_does(has_gpu, expected, monkeypatch):
    monkeypatch.delenv("PARTLIB_PRESET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert notebook.choose_preset() == expected


@pytest.mark.parametrize("chosen", ["huge", "paper"])
def test_another_preset_is_refused_with_those_that_lessons_have(chosen, monkeypatch):
    monkeypatch.setenv("PARTLIB_PRESET", chosen)
    with pytest.raises(ConfigError, match=rf"'{chosen}'; expected one of ci, cpu, gpu$"):
        notebook.choose_preset()


@pytest.mark.slow  # a kernel of its own
@pytest.mark.parametrize("folder", ["notebooks", "notebooks/exercises"])
def test_notebooks_of_every_folder_share_data_and_cache_and_folders_that_the_user_named_stay(folder, tmp_path):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks" / "exercises").mkdir(parents=True)
    code = "from partlib import paths; print(paths.data_dir().resolve(), paths.cache_dir().resolve(), paths.runs_dir())"
    output = in_new_process(code, tmp_path / folder, PARTLIB_RUNS="elsewhere")
    expected = f"{tmp_path.resolve() / 'data'} {tmp_path.resolve() / 'data/cache'} elsewhere"
    assert output.splitlines()[1:] == [expected]


@pytest.mark.slow  # a kernel of its own
@pytest.mark.parametrize("silent", [True, False])
def test_the_environment_switches_progress_bars_off(silent, tmp_path):
    code = "from tqdm.auto import tqdm; print('counted', sum(tqdm(range(4), disable=False)))"
    output = in_new_process(code, tmp_path, **({"TQDM_DISABLE": "1"} if silent else {}))
    assert "counted 6" in output
    assert ("%|" not in output) == silent


@pytest.mark.slow  # a kernel of its own
def test_warnings_do_not_name_the_file_they_come_from(tmp_path):
    output = in_new_process("import warnings; warnings.warn('look out', stacklevel=1)", tmp_path)
    assert output.splitlines()[1:] == ["UserWarning: look out"]


@pytest.mark.slow  # a kernel of its own
def test_figures_take_the_style_of_the_course(tmp_path):
    code = "from matplotlib import rcParams as rc; print(rc['axes.spines.top'], rc['figure.constrained_layout.use'])"
    assert in_new_process(code, tmp_path).splitlines()[1:] == ["False True"]


def test_curves_and_parts_have_the_same_colors():
    style = (REPOSITORY / "notebooks" / "course" / "course.mplstyle").read_text(encoding="utf-8")
    assert ", ".join(f'"{color.removeprefix("#")}"' for color in PART_COLORS) in style


def test_places_of_this_machine_are_replaced(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setenv("PARTLIB_DATA", str(tmp_path.parent / "photos"))
    text = f"in {tmp_path / 'data' / 'cache'} and {tmp_path.parent / 'photos' / 'ccp'} and {Path.home() / 'x'}"
    assert notebook.relative_paths(text) == "in data/cache and $PARTLIB_DATA/ccp and ~/x"


def test_badges_lead_to_the_notebook_in_the_repository(monkeypatch):
    monkeypatch.setattr(notebook, "REPOSITORY", "somebody/parts")
    markdown = notebook.badges("exercises/01_data.ipynb")
    assert f"github/somebody/parts/blob/{notebook.BRANCH}/notebooks/exercises/01_data.ipynb)" in markdown
    assert f"gh/somebody/parts/{notebook.BRANCH}?urlpath=lab/tree/notebooks/exercises/01" in markdown


def test_setup_cell_installs_on_colab_only_and_leaves_its_torch(monkeypatch):
    monkeypatch.setattr(notebook, "REPOSITORY", "somebody/parts")
    installs = [line for line in notebook.setup_cell().splitlines() if "pip install" in line]
    assert installs
    assert all(line.startswith("    ") for line in installs)
    assert not any("torch" in line.split() for line in installs)
    assert "--no-deps" in next(line for line in installs if "somebody/parts" in line)


def test_without_a_place_on_github_a_sentence_says_how_to_start(monkeypatch):
    monkeypatch.setattr(notebook, "REPOSITORY", "")
    assert "pip install" not in notebook.setup_cell()
    assert "make lab" in notebook.badges("01_data.ipynb")
    assert "(../../README.md)" in notebook.badges("exercises/01_data.ipynb")
    monkeypatch.setattr(notebook, "repository_root", lambda: None)
    with pytest.raises(DataError, match="copy of the repository"):
        notebook.stored_result("birds-k4")


def test_publish_writes_the_place_into_library_and_notebooks(tmp_path):
    course = tmp_path / "notebooks"
    shutil.copytree(
        REPOSITORY / "notebooks", course, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    )
    shutil.copytree(course / "course", tmp_path / "partlib_course")
    command = [sys.executable, str(course / "execute.py"), "--publish"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    refused = subprocess.run([*command, "nobody"], env=environment, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "expected owner/name" in refused.stderr
    subprocess.run([*command, "somebody/parts"], env=environment, check=True, capture_output=True)
    assert 'REPOSITORY = "somebody/parts"' in (course / "course" / "notebook.py").read_text(encoding="utf-8")
    for path in course.rglob("*.ipynb"):
        assert "github/somebody/parts/blob" in (text := path.read_text(encoding="utf-8"))
        assert "git+https://github.com/somebody/parts" in text


def test_running_time_reports_and_leaves_json(tmp_path, monkeypatch, capsys):
    target = tmp_path / "timings.json"
    monkeypatch.setenv("PARTLIB_TIMINGS", str(target))
    monkeypatch.setenv("PARTLIB_PRESET", "cpu")
    notebook.running_time()
    assert "peak memory" in capsys.readouterr().out
    values = json.loads(target.read_text(encoding="utf-8"))
    assert values["preset"] == "cpu"
    assert 5e7 < values["memory"] < 1e11


@pytest.mark.parametrize(("kind", "expected"), [("lines", "image/png"), ("photograph", "image/jpeg")])
def test_figures_are_saved_in_the_format_that_suits_them(kind, expected):
    figure = Figure(figsize=(6, 4), dpi=100)
    if kind == "lines":
        figure.subplots().plot([0, 1], [1, 0])
    else:
        figure.subplots().imshow(np.random.default_rng(0).uniform(0, 1, (300, 400, 3)))
    ((mime, encoded),) = notebook.figure_bundle(figure).items()
    assert mime == expected
    assert Image.open(io.BytesIO(b64decode(encoded))).size == (600, 400)


@pytest.mark.parametrize("name", RUNS)
def test_stored_results_are_complete_and_their_command_gives_their_configuration(name):
    result = notebook.stored_result(name)
    assert result["command"].startswith("python figures/results.py run")
    assert {"torch", "device", "partlib"} <= set(result["environment"])
    assert len(result["seeds"]) >= 3
    words = iter(result["command"].partition(" run ")[2].partition(" --seeds")[0].split())
    options = current_fields({option.removeprefix("--").replace("-", "_"): next(words) for option in words})
    kinds = {name: type(value) for name, value in TrainConfig().to_dict().items()}
    changes = {name: kinds[name](value) for name, value in options.items() if name != "preset"}
    asked = TrainConfig.preset(options.get("preset") or default_preset(options["data"]), **changes)
    assert not asked.differences(TrainConfig.from_dict(current_fields(result["config"])).replace(seed=0))


def test_rows_are_means_over_seeds_with_the_best_baseline_second():
    result = notebook.stored_result("birds-k4")
    rows = notebook.result_rows(result)
    values = [s["ours"]["fg_nmi"] for s in result["seeds"].values()]
    assert rows["ours"] == (statistics.mean(values), statistics.stdev(values))
    means = [mean for mean, _ in list(rows.values())[1:]]
    assert means == sorted(means, reverse=True)
    table = notebook.result_table({name: notebook.stored_result(name) for name in RUNS}, methods=2)
    assert [run for run, method in table.index if method == "ours"] == list(RUNS)
    assert table.loc[("birds-k4", "ours"), "FG-NMI"] == "{:.1f} ± {:.1f}".format(*rows["ours"])


def test_stored_pictures_keep_their_shape():
    width, height = notebook.stored_picture("birds-k4-best").get_size_inches()
    assert (width, height) == (12.66, 6.48)  # a pixel of the file is one of the figure, of a hundredth of an inch
    narrow = notebook.stored_picture("birds-k4-best", width=6.6).get_size_inches()
    assert narrow[0] / narrow[1] == pytest.approx(width / height)
    few = notebook.stored_picture("birds-k4-best", columns=6).get_size_inches()
    assert (few[0], few[1]) == (9.58, 6.48)


def test_without_a_copy_of_the_repository_its_page_is_read(monkeypatch):
    monkeypatch.setattr(notebook, "REPOSITORY", "somebody/parts")
    monkeypatch.setattr(notebook, "repository_root", lambda: None)
    monkeypatch.setattr(notebook, "urlopen", lambda address, timeout: io.BytesIO(json.dumps(address).encode()))
    address = f"{notebook.REPOSITORY}/{notebook.BRANCH}/figures/results/birds-k4.json"
    assert str(notebook.stored_result("birds-k4")).endswith(address)
