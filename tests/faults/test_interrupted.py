"""A run that is killed, or meets a full disk, again and again and is resumed each time ends with the same numbers."""

import os
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow
WORDS = ["--num-images", "16", "--image-size", "32", "--feature-size", "64", "--loss-size", "16", "--batch-size", "4"]
WORDS += ["--starts", "2", "--trial-steps", "20", "--log-every", "5", "--checkpoint-every", "5", "--eval-every", "0"]


def train(folder, what, seed, *words):
    """Number of faults of a run in ``folder``, with a cache of its own, in a process without any other's threads."""
    places = {"PARTLIB_CACHE": str(folder / "cache"), "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.faults.interrupted", what, str(seed), str(folder / "run"), *WORDS, *words]
    done = subprocess.run(command, env=os.environ | places, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.splitlines()[-1]), done.stderr


def same(one, other):
    a, b = (load_file(folder / "run" / "model.safetensors") for folder in (one, other))
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("what", "least", "words"), [("kill", 20, ["--steps", "600"]), ("full", 3, ["--steps", "60"])])
def test_faults_at_random_moments_do_not_change_the_result(what, least, words, bird_folder, tmp_path):
    words = ["--data", "folder", "--root", str(bird_folder), *words]
    faults, said = train(tmp_path / "faults", what, 0, *words)
    assert faults >= least
    assert train(tmp_path / "calm", "none", 0, *words)[0] == 0
    assert same(tmp_path / "faults", tmp_path / "calm")
    logs = [pd.read_csv(tmp_path / name / "run" / "log.csv") for name in ("faults", "calm")]
    assert logs[0].equals(logs[1])
    left = [path.name for path in (tmp_path / "faults").rglob(".*") if not path.name.endswith(".part")]
    assert left == []
    assert "Traceback" not in said
    if what == "full":
        assert said.count("partlib: ") == faults
        assert all(line.startswith(("partlib: ", "warning: ")) for line in said.splitlines())
