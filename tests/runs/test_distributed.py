"""Two processes with half of the batch each do what one does with the whole."""

import subprocess
import sys

import pytest
import torch
from timm.layers import convert_sync_batchnorm

from partlib import distributed
from partlib.backbones import Lite0Encoder
from partlib.errors import ConfigError
from partlib.losses import contrastive_loss
from partlib.runs.checkpoint import load_model
from partlib.segmenter import PartSegmenter
from tests.conftest import REPOSITORY
from tests.runs.two_processes import CONFIG, RUNS, descriptors, fit, run_both, stop_at_step_2, views

pytestmark = pytest.mark.filterwarnings("ignore:step .* holds less than:UserWarning")
slow = pytest.mark.slow  # everything that waits for two processes


@pytest.fixture(scope="module")
def folder(own_cache, tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def one():
    """The runs of one process."""
    return {name: fit(name) for name in RUNS}


@pytest.fixture(scope="module")
def both(folder):
    """What two processes found, in rank order; one of their runs goes on with a run that one process began."""
    with pytest.raises(KeyboardInterrupt):
        fit("sgd", folder / "from-one", on_step=stop_at_step_2)
    return run_both(folder)


def assert_equal_up_to_rounding(weights, expected):
    """Weights differ by less than a thousandth of what three steps have changed."""
    start = PartSegmenter(CONFIG.num_parts).state_dict()
    names = [name for name in expected if name.startswith("encoder") and not torch.equal(expected[name], start[name])]
    assert len(names) > 40
    change = torch.cat([(expected[name] - start[name]).flatten() for name in names]).norm()
    difference = torch.cat([(expected[name] - weights[name]).flatten() for name in expected]).norm()
    assert difference < 1e-3 * change


@slow
def test_every_process_knows_its_place_and_leaves_at_the_end(both):
    assert [found["size"] for found in both] == [2, 2]
    assert [found["size after"] for found in both] == [1, 1]


@slow
def test_gathered_rows_carry_the_gradient_of_the_whole_batch(both):
    whole = descriptors().requires_grad_()
    loss = contrastive_loss(whole, 0.2)
    loss.backward()
    for found in both:
        assert torch.equal(found["rows"], whole.detach())
        torch.testing.assert_close(found["loss"], loss.detach())
    torch.testing.assert_close(torch.cat([found["gradient"] for found in both]), whole.grad)


@slow
def test_random_numbers_are_those_of_the_whole_batch_split_up(both):
    generator = torch.Generator().manual_seed(9)
    jittered, grid = views(torch.full((4, 3, 4, 4), 0.5), generator)
    assert torch.equal(torch.cat([found["jittered"] for found in both]), jittered)
    torch.testing.assert_close(torch.cat([found["grid"] for found in both]), grid)
    following = torch.rand(1, generator=generator)
    assert all(torch.equal(found["next"], following) for found in both)


@slow
def test_means_values_of_rank_0_and_the_best_start_are_the_same_everywhere(both):
    for found in both:
        assert found["mean"].tolist() == [0.5, 1.0]
        assert found["broadcast"]["rank"] == 0
        assert found["broadcast"]["tensor"].tolist() == [1, 1]
        assert found["start"] == 1
        assert found["refused"] == "batch_size is 5; expected a multiple of the 2 processes"


@slow
@pytest.mark.parametrize("name", RUNS)
def test_two_halves_give_the_losses_and_weights_of_the_whole(name, both, one):
    expected = one[name]
    for found in both:
        assert_equal_up_to_rounding(found[name]["weights"], expected.segmenter.state_dict())
        assert len(found[name]["log"]) == (5 if name == "frozen" else 3)
        for entry, wanted in zip(found[name]["log"], expected.log, strict=True):
            for term in ("step", "total", "feature", "visual", "contrastive", "equivariance"):
                assert entry[term] == pytest.approx(wanted[term], rel=1e-4), term
    weights = [found[name]["weights"] for found in both]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@slow
def test_only_rank_0_writes_and_evaluates(both, folder, one):
    assert not (folder / "rank-1").exists()
    names = ["checkpoint.pt", "config.json", "log.csv", "model.safetensors"]
    assert sorted(file.name for file in (folder / "rank-0" / "sgd").iterdir()) == names
    evaluated = ["share_1" in entry for entry in one["sgd"].log]
    assert evaluated == [False, True, True]
    assert ["share_1" in entry for entry in both[0]["sgd"]["log"]] == evaluated
    assert not any("share_1" in entry for entry in both[1]["sgd"]["log"])


@slow
def test_a_run_of_one_process_goes_on_with_two_and_the_other_way_round(both, folder, one):
    expected = one["sgd"]
    for found in both:
        assert_equal_up_to_rounding(found["from one process"]["weights"], expected.segmenter.state_dict())
        assert [entry["step"] for entry in found["from one process"]["log"]] == [1, 2, 3]
    assert [found.get("stopped") for found in both] == [True, True]
    resumed = fit("sgd", folder / "rank-0" / "stopped", resume=True)
    assert_equal_up_to_rounding(resumed.segmenter.state_dict(), expected.segmenter.state_dict())
    assert resumed.log[0]["total"] == pytest.approx(expected.log[0]["total"], rel=1e-4)


@slow
def test_torchrun_starts_two_processes_of_the_command_line(bird_folder, tmp_path):
    small = "--image-size 32 --feature-size 32 --num-images 16 --batch-size 4 --steps 2 --starts 2 --eval-every 0"
    where = ["--data", "folder", "--root", str(bird_folder), "--out", str(tmp_path / "run"), "--device", "cpu"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "-m", "partlib"]
    command = [*launcher, "train", *where, "--decoder-steps", "2", *small.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("model, log and configuration are in") == 1
    assert load_model(tmp_path / "run")[1].steps == 2


def test_a_device_that_all_processes_would_share_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(ConfigError, match="device is 'cuda:1' for all processes alike; expected auto, cpu or cuda"),
        distributed.processes("cuda:1"),
    ):
        pass


def test_in_one_process_nothing_is_exchanged():
    rows, network = torch.ones(3, 2), torch.nn.Linear(2, 2)
    assert distributed.all_gather(rows) is rows
    assert distributed.all_reduce_mean(rows) is rows
    assert distributed.replicate(network) is network
    assert distributed.shard(7) == slice(0, 7)
    with distributed.processes("cpu"):
        assert (distributed.rank(), distributed.world_size(), distributed.local_rank()) == (0, 1, 0)


def test_synchronized_batchnorm_keeps_the_function_and_the_names():
    network = Lite0Encoder(("stride4", "stride16"), weights="random").eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    names, before = list(network.state_dict()), network(images)
    changed = convert_sync_batchnorm(network).eval()  # new layers are in training mode, with an older timm
    kinds = {type(m) for m in changed.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)}
    assert all(issubclass(kind, torch.nn.SyncBatchNorm) for kind in kinds)
    assert list(changed.state_dict()) == names
    for found, expected in zip(changed(images), before, strict=True):
        torch.testing.assert_close(found, expected)
