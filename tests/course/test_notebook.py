"""Set-up of the notebooks: preset, shared folders, paths that read the same everywhere, small figures."""

import io
import json
import os
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from partlib_course import notebook
from PIL import Image

from partlib.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]


def in_new_process(code: str, folder: Path, **variables: str) -> str:
    """Output of Python code; ``setup`` changes its process for good, so each test gives it one of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PARTLIB_")}
    environment = {**inherited, "PYTHONPATH": str(REPOSITORY), **variables}
    command = [sys.executable, "-c", code]
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


@pytest.mark.parametrize("chosen", ["huge", "birds", "photographs", "paper"])
def test_another_preset_is_refused_with_those_that_lessons_have(chosen, monkeypatch):
    monkeypatch.setenv("PARTLIB_PRESET", chosen)
    with pytest.raises(ConfigError, match=rf"'{chosen}'; expected one of ci, cpu, gpu$"):
        notebook.choose_preset()


def test_notebooks_of_every_folder_share_data_cache_and_runs(tmp_path):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks" / "exercises").mkdir(parents=True)
    code = (
        "from partlib import notebook, paths; notebook.setup();"
        "print(*(p().resolve() for p in (paths.data_dir, paths.cache_dir, paths.runs_dir)), sep='\\n')"
    )
    expected = [str(tmp_path.resolve() / name) for name in ("data", "data/cache", "runs")]
    for folder in ("notebooks", "notebooks/exercises"):
        assert in_new_process(code, tmp_path / folder, PARTLIB_PRESET="cpu").splitlines()[1:] == expected


def test_folders_that_the_user_named_stay(tmp_path):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    code = "from partlib import notebook, paths; notebook.setup(); print(paths.runs_dir())"
    output = in_new_process(code, tmp_path / "notebooks", PARTLIB_PRESET="cpu", PARTLIB_RUNS="elsewhere")
    assert output.splitlines()[1:] == ["elsewhere"]


@pytest.mark.parametrize(
    ("variables", "silent"),
    [
        ({"PARTLIB_PRESET": "ci"}, True),
        ({"PARTLIB_PRESET": "cpu", "PARTLIB_PROGRESS": "0"}, True),
        ({"PARTLIB_PRESET": "cpu"}, False),
    ],
    ids=["ci", "switched off", "on"],
)
def test_progress_bars_are_silent_where_a_notebook_is_saved(variables, silent, tmp_path):
    code = (
        "from tqdm.auto import tqdm; from partlib import notebook; notebook.setup(); notebook.setup();"
        "print('counted', sum(tqdm(range(4), disable=False)))"
    )
    output = in_new_process(code, tmp_path, **variables)
    assert "counted 6" in output
    assert ("%|" not in output) == silent


def test_warnings_do_not_name_the_file_they_come_from(tmp_path):
    code = "import warnings; from partlib import notebook; notebook.setup(); warnings.warn('look out', stacklevel=1)"
    assert in_new_process(code, tmp_path, PARTLIB_PRESET="cpu").splitlines()[1:] == ["UserWarning: look out"]


def test_places_of_this_machine_are_replaced(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "outside").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setenv("PARTLIB_DATA", str(tmp_path.parent / "photos"))
    text = f"in {tmp_path / 'data' / 'cache'} and {tmp_path.parent / 'photos' / 'ccp'} and {Path.home() / 'x'}"
    assert notebook.relative_paths(text) == "in data/cache and $PARTLIB_DATA/ccp and ~/x"


def test_badges_lead_to_the_notebook_in_the_repository():
    markdown = notebook.badges("exercises/01_data.ipynb")
    assert f"github/{notebook.REPOSITORY}/blob/{notebook.BRANCH}/notebooks/exercises/01_data.ipynb)" in markdown
    assert f"gh/{notebook.REPOSITORY}/{notebook.BRANCH}?urlpath=lab/tree/notebooks/exercises/01" in markdown


def test_setup_cell_installs_on_colab_only_and_leaves_its_torch():
    installs = [line for line in notebook.SETUP.splitlines() if "pip install" in line]
    assert installs
    assert all(line.startswith("    ") for line in installs)
    assert not any("torch" in line.split() for line in installs)
    with_dependencies_on_torch = next(line for line in installs if "timm" in line)
    assert "--no-deps" in with_dependencies_on_torch
    assert notebook.REPOSITORY in with_dependencies_on_torch


def test_running_time_reports_and_leaves_json(tmp_path, monkeypatch, capsys):
    target = tmp_path / "timings.json"
    monkeypatch.setenv("PARTLIB_TIMINGS", str(target))
    monkeypatch.setenv("PARTLIB_PRESET", "cpu")
    notebook.running_time()
    assert "peak memory" in capsys.readouterr().out
    values = json.loads(target.read_text(encoding="utf-8"))
    assert values["preset"] == "cpu"
    assert 5e7 < values["memory"] < 1e11


def test_peak_memory_grows_with_what_was_held_and_stays_when_it_is_given_back(tmp_path):
    code = (
        "import numpy as np; from partlib_course.notebook import peak_memory; before = peak_memory();"
        "np.ones(50_000_000).sum(); print(peak_memory() - before)"
    )
    assert 3e8 < int(in_new_process(code, tmp_path)) < 6e8


@pytest.mark.parametrize(("kind", "expected"), [("lines", "image/png"), ("photograph", "image/jpeg")])
def test_figures_are_saved_in_the_format_that_suits_them(kind, expected):
    figure, ax = plt.subplots(figsize=(6, 4), dpi=100)
    if kind == "lines":
        ax.plot([0, 1], [1, 0])
    else:
        ax.imshow(np.random.default_rng(0).uniform(0, 1, (300, 400, 3)))
    plt.close(figure)
    ((mime, encoded),) = notebook.figure_bundle(figure).items()
    assert mime == expected
    assert Image.open(io.BytesIO(b64decode(encoded))).size == (600, 400)
