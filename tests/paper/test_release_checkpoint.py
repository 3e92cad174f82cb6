"""Checkpoints of the release: every tensor finds its place, or the file is refused with the names that do not fit."""

import pytest
import torch
from torch.nn import functional

from partlib.cli import main
from partlib.errors import CheckpointError
from partlib.paper.checkpoint import convert_release_checkpoint, load_release_checkpoint
from partlib.runs.checkpoint import load_model

BLOCKS = (3, 4, 6, 3)


def release_state(num_parts=4, counters=True):
    """A state dict with the names and shapes of the release's network, in its order, with random values."""
    generator = torch.Generator().manual_seed(0)
    state = {}

    def convolution(name, out, into, size):
        state[f"{name}.weight"] = torch.randn(out, into, size, size, generator=generator) / (into * size**2) ** 0.5

    def norm(name, channels):
        for kind in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{kind}"] = torch.rand(channels, generator=generator) + 0.5
        if counters:
            state[f"{name}.num_batches_tracked"] = torch.tensor(60_000)

    convolution("conv1", 64, 3, 7)
    norm("bn1", 64)
    channels = 64
    for layer, blocks in enumerate(BLOCKS, 1):
        width = 32 * 2**layer
        for block in range(blocks):
            name = f"layer{layer}.{block}"
            for i, (out, into, size) in enumerate(((width, channels, 1), (width, width, 3), (4 * width, width, 1)), 1):
                convolution(f"{name}.conv{i}", out, into, size)
                norm(f"{name}.bn{i}", out)
            if block == 0:
                convolution(f"{name}.downsample.0", 4 * width, channels, 1)
                norm(f"{name}.downsample.1", 4 * width)
            channels = 4 * width
    for branch in range(4):
        convolution(f"layer5.conv2d_list.{branch}", num_parts, 1024, 3)
        state[f"layer5.conv2d_list.{branch}.bias"] = torch.randn(num_parts, generator=generator)
    return state


@pytest.fixture(scope="module")
def state():
    return release_state()


@pytest.fixture
def save(tmp_path):
    def write(tensors, name="model_60000.pth", **others):
        torch.save({"iter": 59_999, "model_state_dict": tensors, "optimizer_state_dict": {}} | others, tmp_path / name)
        return tmp_path / name

    return write


def test_every_tensor_has_its_place_and_none_is_left_over(state, save):
    segmenter, config, names = load_release_checkpoint(save(state))
    loaded = segmenter.state_dict()
    assert names.keys() == state.keys()
    assert set(names.values()) == loaded.keys()
    assert all(torch.equal(loaded[new], state[old]) for old, new in names.items())
    assert (config.num_parts, config.arch) == (4, "deeplab_resnet50_release")
    assert not segmenter.training


def by_hand(images, state):
    """Logits (B, K, h, w) of the paper's network, from plain functions of the tensors under the release's names."""

    def norm(x, name):
        kinds = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(state[f"{name}.{kind}"] for kind in kinds))

    def bottleneck(x, name, stride, dilation):
        y = norm(functional.conv2d(x, state[f"{name}.conv1.weight"], stride=stride), f"{name}.bn1").relu()
        y = functional.conv2d(y, state[f"{name}.conv2.weight"], padding=dilation, dilation=dilation)
        y = functional.conv2d(norm(y, f"{name}.bn2").relu(), state[f"{name}.conv3.weight"])
        if f"{name}.downsample.0.weight" in state:
            shortcut = functional.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
            x = norm(shortcut, f"{name}.downsample.1")
        return (norm(y, f"{name}.bn3") + x).relu()

    mean = torch.tensor([104.00698793, 116.66876762, 122.67891434]).view(1, 3, 1, 1)
    x = functional.conv2d(images * 255 - mean, state["conv1.weight"], stride=2, padding=3)
    x = functional.max_pool2d(norm(x, "bn1").relu(), 3, stride=2, padding=1, ceil_mode=True)
    for layer, (blocks, stride, dilation) in enumerate(zip(BLOCKS, (1, 2, 1, 1), (1, 1, 2, 4), strict=True), 1):
        for block in range(blocks):
            x = bottleneck(x, f"layer{layer}.{block}", stride if block == 0 else 1, dilation)
    logits = 0
    for i, dilation in enumerate((6, 12, 18, 24)):
        weight, bias = (state[f"layer5.conv2d_list.{i}.{kind}"] for kind in ("weight", "bias"))
        logits = logits + functional.conv2d(x[:, 1024:], weight, bias, padding=dilation, dilation=dilation)
    return logits


@torch.no_grad()
def test_the_loaded_network_computes_what_its_tensors_compute_by_hand(state, save):
    segmenter = load_release_checkpoint(save(state))[0].double()
    images = torch.rand(2, 3, 64, 72, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = by_hand(images, {name: value.double() for name, value in state.items()})
    assert expected.shape == (2, 4, 9, 10)
    torch.testing.assert_close(segmenter.decoder(segmenter.encoder(images)), expected, rtol=1e-5, atol=1e-5)


def test_number_of_parts_prefix_of_many_gpus_and_missing_counters_are_understood(save, tmp_path):
    tensors = {f"module.{name}": value for name, value in release_state(7, counters=False).items()}
    segmenter, config, names = load_release_checkpoint(save(tensors))
    assert (segmenter.num_parts, config.num_parts) == (7, 7)
    fresh = segmenter.state_dict().keys() - set(names.values())
    assert len(fresh) == 53  # one counter for each BatchNorm of a ResNet-50
    assert all(name.endswith("num_batches_tracked") for name in fresh)
    assert "53 counters of BatchNorm start at 0" in convert_release_checkpoint(save(tensors), tmp_path / "run")


def test_convert_reports_the_places_and_leaves_a_run_that_segments(state, save, tmp_path, capsys):
    checkpoint, out = save(state), tmp_path / "run"
    assert main(["convert", str(checkpoint), "--data", "deepfashion", "--out", str(out)]) == 0
    report = capsys.readouterr().out
    assert "8 tensors layer5.conv2d_list.*   -> decoder.branches.*" in report
    assert f"{len(state)} tensors in all, none left over" in report
    segmenter, config = load_model(out)
    assert config.data == "deepfashion"
    expected = load_release_checkpoint(checkpoint)[0].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in segmenter.state_dict().items())
    assert main(["convert", str(checkpoint), "--out", str(out)]) == 1
    assert "holds a model already" in capsys.readouterr().err


def without(name):
    return lambda tensors: tensors.pop(name)


def with_more(tensors):
    tensors.update({f"layer6.{i}.weight": torch.zeros(2) for i in range(5)})


def transposed(tensors):
    tensors["layer2.0.conv3.weight"] = tensors["layer2.0.conv3.weight"].transpose(0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("layer3.5.bn2.running_var"), r"layer3\.5\.bn2\.running_var is no tensor; expected \(256,\)"),
        (without("layer5.conv2d_list.0.weight"), r"has no convolution layer5\.conv2d_list\.0\.weight"),
        (with_more, r"layer6\.0\.weight is \(2,\); expected no tensor"),
        (transposed, r"layer2\.0\.conv3\.weight is \(128, 512, 1, 1\); expected \(512, 128, 1, 1\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named_as_the_release_names_them(change, message, state, save):
    tensors = dict(state)
    change(tensors)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_release_checkpoint(save(tensors))
    assert "model_60000.pth" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_explained(state, tmp_path):
    torch.save(state, tmp_path / "plain.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "plain.pth").read_bytes()[:1000])
    for name, message in {
        "plain.pth": "holds conv1.weight, bn1.weight, bn1.bias; expected model_state_dict",
        "cut.pth": "cannot be read",
        "nowhere.pth": "does not exist",
    }.items():
        with pytest.raises(CheckpointError, match=f"{name} {message}"):
            load_release_checkpoint(tmp_path / name)


def test_segmenting_with_a_checkpoint_as_it_is_says_to_convert_it(state, save, capsys):
    path = save(state)
    with pytest.raises(CheckpointError, match=r"partlib convert .*model_60000\.pth"):
        load_model(path)
