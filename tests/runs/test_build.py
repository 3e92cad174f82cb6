"""Faster ways to run a step: the same losses up to rounding, and no waiting for the device."""

import pytest
import torch
from partlib.optimizer import build_optimizer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from partlib import TrainConfig, train
from partlib.errors import ConfigError
from partlib.runs.build import Runtime, TrainingForward
from partlib.runs.checkpoint import load_checkpoint
from partlib.segmenter import PartSegmenter
from partlib.training import Trainer

CONFIG = TrainConfig(
    image_size=32,
    feature_size=32,
    **{"feature": 5.0, "visual": 2.0, "contrastive": 0.5, "equivariance": 0.5},
    **{"batch_size": 4, "steps": 3, "optimizer": "sgd", "lr": 1e-3, "backbone_lr": 1e-4},
    **{"eval_every": 0, "log_every": 1, "checkpoint_every": 0},
)
CPU = torch.device("cpu")
TERMS = ("total", "feature", "visual", "contrastive", "equivariance")
# What reads a value back from the device, so that the program waits until it is computed.
READS = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique")


class Reads(TorchDispatchMode):
    """Notes the operations that need a value of a tensor to go on."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in READS or name.startswith("_unique"):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def test_the_step_reads_nothing_back_from_the_device(tiny_birds):
    trainer = Trainer(CONFIG, "cpu", tiny_birds)
    trainer.advance()  # caches are filled by the first step
    with Reads() as reads:
        trainer.advance()
    assert reads.found == []
    with Reads() as reads:  # it would be noticed
        trainer.advance()["total"].item()
    assert reads.found == ["_local_scalar_dense"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_step_never_waits_for_the_gpu(tiny_birds):
    trainer = Trainer(CONFIG.replace(steps=8), "cuda", tiny_birds)
    for _ in range(2):
        trainer.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_as_the_cpu_does(tiny_birds):
    logs = [
        train(CONFIG, device=device, datasets=tiny_birds, progress=False, runtime=Runtime("float32")).log
        for device in ("cpu", "cuda")
    ]
    for cpu, gpu in zip(*logs, strict=True):
        assert {name: gpu[name] for name in TERMS} == pytest.approx({name: cpu[name] for name in TERMS}, rel=2e-2)


def test_bfloat16_runs_the_network_in_half_precision_and_everything_else_in_full(tiny_birds):
    logs = {
        precision: train(CONFIG, device="cpu", datasets=tiny_birds, progress=False, runtime=Runtime(precision)).log
        for precision in ("float32", "bfloat16")
    }
    assert logs["bfloat16"][0] != logs["float32"][0]
    for half, full in zip(logs["bfloat16"], logs["float32"], strict=True):
        assert {name: half[name] for name in TERMS} == pytest.approx({name: full[name] for name in TERMS}, rel=3e-2)
    trainer = Trainer(CONFIG, "cpu", tiny_birds, Runtime("bfloat16"))
    seen = []
    trainer.segmenter.decoder.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    terms = trainer.advance()
    assert seen == [torch.bfloat16]
    assert {value.dtype for value in terms.values()} == {torch.float32}
    assert {p.dtype for p in trainer.segmenter.parameters()} == {torch.float32}


def test_logits_are_interpolated_in_full_precision():
    segmenter = PartSegmenter(3, weights="random").eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = TrainingForward(segmenter, CPU, Runtime("bfloat16"))(images)
    assert logits.dtype == torch.float32
    # bfloat16 has 8 bits: rounded to it, neighbouring pixels between two cells would be equal
    assert (logits != logits.bfloat16().float()).float().mean() > 0.5


def test_automatic_choices_suit_the_device():
    automatic = Runtime()
    assert automatic.half_type(CPU) is None
    assert automatic.number_of_workers(CPU) == 0
    gpu = torch.device("cuda")
    assert 1 <= automatic.number_of_workers(gpu) <= 4
    assert Runtime(workers=0).number_of_workers(gpu) == 0
    assert Runtime("float32").half_type(gpu) is None
    assert Runtime("bfloat16").half_type(CPU) == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "half"}, "precision is 'half'; expected one of auto, float32, bfloat16"),
        ({"workers": -1}, "workers is -1; expected"),
        ({"feature_cache_gb": float("nan")}, "feature_cache_gb is nan; expected"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Runtime(**options)


def test_a_compiled_network_is_the_same_function(monkeypatch):
    """With the graph captured but run by PyTorch: the compiler itself takes minutes and is PyTorch's to test."""
    compiled = []
    original = torch.compile
    monkeypatch.setattr(torch, "compile", lambda m: compiled.append(m) or original(m, backend="aot_eager"))
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 3, 1))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = TrainingForward(network, CPU, Runtime(compile=True))(images)
    logits.square().sum().backward()
    assert compiled == [network]
    gradient = network[0].weight.grad.clone()
    network.zero_grad()
    plain = network(images)
    plain.square().sum().backward()
    torch.testing.assert_close(logits, plain)
    torch.testing.assert_close(gradient, network[0].weight.grad)


def test_a_checkpoint_of_a_fused_optimiser_goes_on_with_the_one_of_this_device(tiny_birds, tmp_path):
    config = CONFIG.replace(optimizer="adam", steps=2)
    trainer = Trainer(config, "cpu", tiny_birds)
    trainer.advance()
    trainer.save(tmp_path / "checkpoint.pt")
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    for group in state["optimizer"]["param_groups"]:
        group["fused"] = True  # as a GPU would have written it
    resumed = Trainer(config, "cpu", tiny_birds)
    resumed.restore(state, tmp_path)
    assert [group["fused"] for group in resumed.optimizer.param_groups] == [None, None]
    resumed.advance()
    trainer.advance()
    for a, b in zip(resumed.segmenter.parameters(), trainer.segmenter.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_fused_optimisers_are_for_gpus(name):
    segmenter = PartSegmenter(3, weights="random")
    assert build_optimizer(segmenter, CONFIG.replace(optimizer=name)).defaults["fused"] is None
