"""What a configuration names, made: devices, images, features; and faster ways to run a step, equal up to rounding."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from partlib import TrainConfig, train
from partlib.config import LOSSES, PRESETS
from partlib.data import LARGEST_SIZE, load_dataset
from partlib.errors import ConfigError
from partlib.features import CachedFeatures, LiveFeatures, PerceptualFeatures
from partlib.paper.release import recipe_of
from partlib.runs.build import Recipe, Runtime, build_trainer, pick_device, training_forward

CONFIG = TrainConfig(
    **{"arch": "fpn_lite0", "views": 0, "image_size": 32, "feature_size": 32, "batch_size": 4, "steps": 3, "starts": 1},
    **{"backbone_lr": 1e-4, "eval_every": 0, "log_every": 1, "checkpoint_every": 0},
)
CPU = torch.device("cpu")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
# What reads a value back from the device, so that the program waits until it is computed.
READS = ("_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique")


class Sgd(Recipe):
    """Adam divides by gradients near zero, which makes much of rounding; this does not."""

    def optimizer(self, groups):
        return torch.optim.SGD(groups)


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


# --- data and features -----------------------------------------------------------------------------------------------


@pytest.fixture
def of_folder(bird_folder):
    """Recipe on a user's own folder of 32 x 32 images, with features of 64 x 64 ones."""
    places = {"data": "folder", "root": str(bird_folder), "feature_size": 64}
    return lambda **changes: Recipe(CONFIG.replace(**{**places, **changes}))


def test_num_images_limits_the_training_split_only_and_a_batch_must_fit_into_it(of_folder, bird_folder):
    recipe, everything = of_folder(num_images=16), load_dataset("folder", "val", bird_folder, 32)
    assert (len(recipe.dataset()), len(recipe.dataset("val"))) == (16, len(everything))
    with pytest.raises(ConfigError, match="batch_size is 17 but folder has 16 training images"):
        of_folder(num_images=16, batch_size=17).dataset()


def test_features_come_from_larger_images_of_the_same_split(of_folder, bird_folder):
    fine, coarse = of_folder().features("val").maps
    assert len(fine) == len(of_folder().dataset("val"))
    assert (fine.shape[1:], coarse.shape[1:]) == ((112, 4, 4), (320, 2, 2))
    extractor, sample = PerceptualFeatures(size=64), load_dataset("folder", "val", bird_folder, 64)[0]
    expected = extractor(sample.image[None])[0].numpy()
    np.testing.assert_allclose(fine[:1].astype(np.float32), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("data", ["birds", "ccp"])
def test_presets_ask_for_images_that_there_are(name, data, monkeypatch):
    config, asked = TrainConfig.preset(name, data=data, batch_size=2, data_options=()), []
    recipe = recipe_of(config)(config.replace(num_images=0))
    monkeypatch.setattr(type(recipe), "load", lambda recipe, split, size, options: asked.append(size) or "abc")
    recipe.dataset()
    monkeypatch.setattr("partlib.runs.build.cached_features", lambda *_: None)
    monkeypatch.setattr(type(recipe), "extractor", lambda *_: None)
    recipe.features()
    largest = LARGEST_SIZE.get(data, 1024)
    assert asked == [config.image_size, min(config.feature_size, largest)]
    assert config.image_size <= largest


def test_features_too_large_for_the_cache_are_computed_and_scaled_all_the_same(of_folder):
    config = of_folder().config
    cached, live = (build_trainer(config, "cpu", None, Runtime(feature_cache_gb=limit)).loader for limit in (20.0, 0.0))
    assert isinstance(cached.batches.features, CachedFeatures)
    assert isinstance(live.batches.features, LiveFeatures)
    for found, expected in zip(live(1)[1], cached(1)[1], strict=True):
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-2)  # the cache has half the digits


def test_features_of_given_images_are_those_of_the_images_themselves(tiny_birds):
    trainer = build_trainer(CONFIG.replace(feature_size=64), "cpu", tiny_birds[0])
    batch, _ = trainer.loader(0)
    expected = PerceptualFeatures(size=64)(batch.images)
    index, own = [tiny_birds[0].names.index(name) for name in batch.names], trainer.loader.batches.features
    for found, maps in zip(own(own.load(index)), expected, strict=True):
        torch.testing.assert_close(found, maps, rtol=1e-2, atol=1e-2)


def test_without_a_loss_that_reads_features_none_are_computed(tiny_birds):
    trainer = build_trainer(CONFIG.replace(lambda_feature=0.0, lambda_contrastive=0.0), "cpu", tiny_birds[0])
    assert trainer.loader.batches.features is None
    assert list(trainer.advance()) == ["total", "visual", "equivariance"]


def test_random_crops_have_no_fixed_features_to_scale(tiny_birds):
    dataset = tiny_birds[0].subset(range(8))
    dataset.fixed_crop = False
    with pytest.raises(ConfigError, match=r"random crops .* no fixed features .* use --preset paper"):
        build_trainer(CONFIG, "cpu", dataset)


def test_quirks_need_the_recipe_that_knows_them():
    with pytest.raises(ConfigError, match=r"quirks is recipe.* pass recipe=partlib\.paper\.release\.PaperRecipe"):
        Recipe(TrainConfig.preset("paper"))


def test_starts_differ_and_repeat():
    recipe = Recipe(CONFIG.replace(arch="fpn_lite0:random"))
    first, again, other = (recipe.segmenter(start).state_dict() for start in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["decoder.classify.weight"], other["decoder.classify.weight"])


# --- devices and number formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_named_and_auto_finds_one_that_works(name):
    with pytest.raises(ConfigError, match=f"device '{name}' cannot be used .*expected auto, cpu or cuda") as caught:
        pick_device(name)
    assert "\n" not in str(caught.value)
    assert torch.ones(2, device=pick_device()).sum() == 2


def test_automatic_choices_suit_the_device():
    automatic, cuda = Runtime(), torch.device("cuda")
    with automatic.autocast(CPU):
        assert not torch.is_autocast_enabled("cpu")
    with Runtime("bfloat16").autocast(CPU):
        assert torch.is_autocast_enabled("cpu")
    assert automatic.number_of_workers(CPU) == 0
    assert 1 <= automatic.number_of_workers(cuda) <= 4
    assert Runtime(workers=0).number_of_workers(cuda) == 0


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


def test_bfloat16_runs_the_network_in_half_precision_and_everything_else_in_full(tiny_birds):
    options = {"device": "cpu", "datasets": (tiny_birds[0], None), "progress": False, "recipe": Sgd}
    logs = {name: train(CONFIG, runtime=Runtime(name), **options).log for name in ("float32", "bfloat16")}
    assert logs["bfloat16"][0] != logs["float32"][0]
    for half, full in zip(logs["bfloat16"], logs["float32"], strict=True):
        assert half == pytest.approx(full, rel=3e-2)
    trainer, seen = build_trainer(CONFIG, "cpu", tiny_birds[0], Runtime("bfloat16")), []
    trainer.segmenter.decoder.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    terms = trainer.advance()
    assert seen == [torch.bfloat16]
    assert {value.dtype for value in terms.values()} == {torch.float32}
    assert {p.dtype for p in trainer.segmenter.parameters()} == {torch.float32}


def test_a_compiled_network_is_the_same_function(monkeypatch):
    """With the graph captured but run by PyTorch: the compiler itself takes minutes and is PyTorch's to test."""
    compiled, original = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda m: compiled.append(m) or original(m, backend="aot_eager"))
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 3, 1))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = training_forward(network, CPU, Runtime(compile=True))(images)
    logits.square().sum().backward()
    assert compiled == [network]
    gradient = network[0].weight.grad.clone()
    network.zero_grad()
    plain = network(images)
    plain.square().sum().backward()
    torch.testing.assert_close(logits, plain)
    torch.testing.assert_close(gradient, network[0].weight.grad)


# --- waiting for the device ------------------------------------------------------------------------------------------


def test_the_step_reads_nothing_back_from_the_device(tiny_birds):
    trainer = build_trainer(CONFIG, "cpu", tiny_birds[0], recipe=Sgd)  # Adam counts on the CPU, unless it is fused
    trainer.advance()  # caches are filled by the first step
    with Reads() as reads:
        trainer.advance()
    assert reads.found == []
    with Reads() as reads:  # it would be noticed
        trainer.advance()["total"].item()
    assert reads.found == ["_local_scalar_dense"]


@gpu
def test_the_step_never_waits_for_the_gpu(tiny_birds):
    trainer = build_trainer(CONFIG.replace(steps=8), "cuda", tiny_birds[0])
    for _ in range(2):
        trainer.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@gpu
def test_a_gpu_trains_as_the_cpu_does(tiny_birds):
    options = {"datasets": (tiny_birds[0], None), "progress": False, "runtime": Runtime("float32"), "recipe": Sgd}
    for cpu, cuda in zip(*(train(CONFIG, device=device, **options).log for device in ("cpu", "cuda")), strict=True):
        assert {name: cuda[name] for name in LOSSES} == pytest.approx({name: cpu[name] for name in LOSSES}, rel=2e-2)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=gpu)])
def test_the_optimizer_is_fused_on_a_gpu_and_trains_encoder_and_decoder_at_their_rates(device, tiny_birds):
    trainer = build_trainer(CONFIG, device, tiny_birds[0])
    encoder, decoder = trainer.optimizer.param_groups
    assert (encoder["lr"], decoder["lr"]) == (CONFIG.backbone_lr, CONFIG.lr)
    assert encoder["fused"] == (True if device == "cuda" else None)
    assert {id(p) for p in encoder["params"] + decoder["params"]} == {id(p) for p in trainer.trained}
    assert trainer.segmenter.training
