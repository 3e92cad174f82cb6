"""Models as ONNX: what ONNX Runtime computes from the files is what PyTorch computes; the encoder is written once."""

import json

import numpy as np
import pytest
import torch

from partlib.cli import export as module
from partlib.cli import main
from partlib.config import TrainConfig
from partlib.data import birds
from partlib.errors import ConfigError
from partlib.masks import boxes
from partlib.masks.found import network_of
from partlib.runs.checkpoint import load_pretrained, save_model
from partlib.segmenter import PartSegmenter

onnx = pytest.importorskip("onnx", reason='needs pip install "partlib[export]"')
runtime = pytest.importorskip("onnxruntime", reason='needs pip install "partlib[export]"')


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder of birds-k4 as ONNX, and what the command printed."""
    out = tmp_path_factory.mktemp("onnx") / "birds-k4"
    card = module.export("birds-k4", out)
    return out, card


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A model.safetensors with an encoder of its own, of random weights, for images of 64 pixels."""
    torch.manual_seed(0)
    config = TrainConfig(data="birds", num_parts=3, arch="fpn_lite0", image_size=64, views=0)
    path = tmp_path_factory.mktemp("other") / "model.safetensors"
    segmenter = PartSegmenter(3, "fpn_lite0", "random").eval()
    save_model(path, segmenter, config)
    return path


def run(folder, file, inputs):
    """The outputs of a file by name."""
    session = runtime.InferenceSession(str(folder / file))
    wanted = {i.name for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    given = {name: values for name, values in inputs.items() if name in wanted}
    return dict(zip(names, session.run(names, given), strict=True))


@pytest.mark.slow
def test_shared_encoder_is_written_once_in_half_precision(exported):
    out, card = exported
    assert sorted(path.name for path in out.iterdir()) == ["decoder.onnx", "encoder.onnx", "mask.onnx", "model.json"]
    sizes = {path.name: path.stat().st_size for path in out.iterdir()}
    assert sizes["encoder.onnx"] < 7e6
    assert max(sizes["decoder.onnx"], sizes["mask.onnx"]) < 0.3e6
    assert json.loads((out / "model.json").read_text()) == card
    assert (card["name"], card["num_parts"], card["image_size"], card["margin"]) == ("birds-k4", 4, 256, 0.05)
    assert card["files"]["encoder.onnx"]["outputs"] == ["stride4", "stride8", "stride16", "stride32"]
    assert card["files"]["decoder.onnx"]["inputs"] == ["stride8", "stride16", "stride32"]
    assert card["mask"] | {"network": "birds", "encoder": "encoder.onnx", "margin": boxes.MARGIN} == card["mask"]
    assert min(card["agreement"].values()) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 3])
def test_drawn_birds_get_the_labels_and_masks_of_pytorch(exported, own_cache, number):
    drawn = birds.load("test", None, 256, 3)
    images = torch.stack([drawn[i].image for i in range(number)])
    segmenter, network = load_pretrained("birds-k4")[0], network_of("birds")
    maps = run(exported[0], "encoder.onnx", {"images": images.numpy()})
    with torch.no_grad():
        expected = segmenter.decoder(segmenter.encoder(images)).numpy(), network.decoder(network.maps(images)).numpy()
    parts, mask = (run(exported[0], file, maps)["logits"] for file in ("decoder.onnx", "mask.onnx"))
    assert (parts.argmax(1) == expected[0].argmax(1)).mean() > 0.99
    assert 0.02 < (expected[1] >= 0).mean() < 0.9
    assert ((mask >= 0) == (expected[1] >= 0)).mean() > 0.99


@pytest.mark.slow
def test_another_encoder_gets_the_mask_encoder_beside_it(other, tmp_path, capsys):
    assert main(["export", str(other), "--out", str(tmp_path / "onnx"), "--float32"]) == 0
    files = ["decoder.onnx", "encoder.onnx", "mask-encoder.onnx", "mask.onnx", "model.json"]
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == files
    printed = capsys.readouterr().out
    assert all(file in printed for file in files)
    assert "labels that are those of PyTorch, on random images: parts 100.00%, mask 100.00%" in printed
    card = json.loads((tmp_path / "onnx" / "model.json").read_text())
    assert (card["image_size"], card["mask"]["image_size"], card["precision"]) == (64, 256, "float32")
    # The same without mask network takes the files away that it does not need
    assert main(["export", str(other), "--out", str(tmp_path / "onnx")]) == 1
    assert "model.json is there already; pass --overwrite" in capsys.readouterr().err
    assert main(["export", str(other), "--out", str(tmp_path / "onnx"), "--network", "none", "--overwrite"]) == 0
    left = sorted(path.name for path in (tmp_path / "onnx").iterdir())
    assert left == ["decoder.onnx", "encoder.onnx", "model.json"]


@pytest.mark.slow
def test_every_weight_is_stored_as_float16(exported):
    model = onnx.load(exported[0] / "encoder.onnx")
    large = [w for w in model.graph.initializer if np.prod(w.dims) >= module.SMALL]
    assert len(large) > 40
    assert {w.data_type for w in large} == {onnx.TensorProto.FLOAT16}


def test_a_deeplab_is_exported_with_its_one_map():
    segmenter = PartSegmenter(3, "deeplab_resnet50_paper", "random").eval()
    found = module.pieces(segmenter, None, 64)
    assert {file: (list(piece.inputs), piece.outputs) for file, piece in found.items()} == {
        "encoder.onnx": (["images"], ("stage4",)),
        "decoder.onnx": (["stage4"], ("logits",)),
    }
    model = module.graph(found["decoder.onnx"])
    assert [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == ["N", 3, 9, 9]


@pytest.mark.slow
def test_files_that_compute_something_else_are_refused(exported):
    segmenter, network = load_pretrained("birds-k8")[0], network_of("birds")
    graphs = {file: onnx.load(exported[0] / file) for file in exported[1]["files"]}
    shares = module.agreement(graphs, segmenter, network, 256)
    assert shares["mask"] >= 0.99 > shares["parts"]
    with pytest.raises(ConfigError, match=r"parts: .* are those of PyTorch; expected 99%; .*pass --float32"):
        module.check(shares, half=True)


def test_what_is_missing_or_in_the_way_is_named(other, tmp_path, capsys, monkeypatch):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["export", "birds-k4", "--out", str(tmp_path)]) == 1
    assert "holds other files (mine.txt); pass another --out" in capsys.readouterr().err
    assert main(["export", str(other), "--out", str(tmp_path / "new"), "--network", "fish"]) == 1
    assert "no mask network goes with 'fish'; make one" in (error := capsys.readouterr().err)
    assert "--network none" in error
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert main(["export", str(other), "--out", str(tmp_path / "new")]) == 1
    assert 'onnx and onnxscript cannot be imported; export needs: pip install "partlib[export]"' in (
        capsys.readouterr().err
    )
    monkeypatch.undo()
    monkeypatch.setattr(torch, "__version__", "2.4.1+cpu")
    assert main(["export", str(other), "--out", str(tmp_path / "new")]) == 1
    assert "torch is 2.4.1+cpu; export needs 2.6 or newer: pip install --upgrade" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
