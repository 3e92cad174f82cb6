"""A model as ONNX files, which run without Python: ``partlib export``.

The encoder, which takes nearly all of the time and of the bytes, is a file of its own: the shipped models and mask
networks share ImageNet's, so that it is written once and both heads read its maps. Cropping to the object and back is
left to whoever runs them; ``model.json`` says how (docs/parts does it in a browser).
"""

import platform
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partlib.backbones import folded
from partlib.errors import ConfigError
from partlib.masks import boxes
from partlib.masks.found import GROW, network_of
from partlib.masks.network import MaskNetwork
from partlib.paths import claim, write_atomically
from partlib.report.inference import MARGIN
from partlib.runs.checkpoint import load_model, write_json
from partlib.segmenter import PartSegmenter

FILES = ("encoder.onnx", "decoder.onnx", "mask-encoder.onnx", "mask.onnx")
CARD = "model.json"
SMALL = 100  # values; tensors of fewer, such as biases and means, stay float32 and take no space
AGREEMENT = 0.99  # least share of labels that PyTorch and ONNX Runtime must have in common
TORCH = (2, 6)  # the first whose exporter keeps the number of images open

Graph = Any  # onnx.ModelProto; the package is optional


class Piece(NamedTuple):
    """What becomes one file."""

    network: nn.Module
    inputs: dict[str, Tensor]  # by name, of two images: (2, 3, S, S) in [0, 1], or maps (2, C, h, w)
    outputs: tuple[str, ...]


class OfMaps(nn.Module):
    """A decoder that takes its maps (N, C, h, w) one by one instead of in a list."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *maps: Tensor) -> Tensor:
        return self.decoder(list(maps))  # (N, K, h, w)


def require_packages() -> None:
    """ConfigError where what writes ONNX is missing or too old."""
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ConfigError(f'{" and ".join(missing)} cannot be imported; export needs: pip install "partlib[export]"')
    if tuple(map(int, torch.__version__.split(".")[:2])) < TORCH:
        wanted = ".".join(map(str, TORCH))
        remedy = f'pip install --upgrade "torch>={wanted}" torchvision'
        raise ConfigError(f"torch is {torch.__version__}; export needs {wanted} or newer: {remedy}")


@torch.no_grad()
def pieces(segmenter: PartSegmenter, network: MaskNetwork | None, size: int) -> dict[str, Piece]:
    """What to write, by file: the segmenter for images of ``size``, and a mask network, for images of boxes.SIDE.

    Where both have the same encoder it stands there once, with the layers of the mask network, which are all of them.
    """
    encoder: Any = folded(segmenter.encoder)
    wanted = tuple(encoder.layers)
    shared = network is not None and size == boxes.SIDE and _same(encoder, network.encoder)
    encoder = network.encoder if shared else encoder  # type: ignore[union-attr]
    images = torch.rand(2, 3, size, size)
    maps = dict(zip(encoder.layers, encoder(images), strict=True))
    found = {"encoder.onnx": Piece(encoder, {"images": images}, tuple(maps))}
    found["decoder.onnx"] = Piece(OfMaps(segmenter.decoder), {name: maps[name] for name in wanted}, ("logits",))
    if network is not None:
        if not shared:
            encoder, images = network.encoder, torch.rand(2, 3, boxes.SIDE, boxes.SIDE)
            maps = dict(zip(encoder.layers, encoder(images), strict=True))
            found["mask-encoder.onnx"] = Piece(encoder, {"images": images}, tuple(maps))
        found["mask.onnx"] = Piece(OfMaps(network.decoder), maps, ("logits",))
    return found


def _same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two encoders have equal weights."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def graph(piece: Piece, half: bool = True) -> Graph:
    """A piece as an ONNX model for any number of images, checked by onnx; ``half`` stores its weights as float16."""
    import onnx

    any_number = {0: torch.export.Dim("N")}
    shapes: Any = tuple(any_number for _ in piece.inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about names of axes
        program = torch.onnx.export(
            piece.network.eval(),
            tuple(piece.inputs.values()),
            input_names=list(piece.inputs),
            output_names=list(piece.outputs),
            dynamic_shapes=(shapes,) if isinstance(piece.network, OfMaps) else shapes,  # *maps is one argument
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto  # type: ignore[union-attr]
    if half:
        _halve(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _halve(model: Graph) -> None:
    """Store the weights of a graph as float16; a Cast behind each makes them float32 again, in any runtime."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and np.prod(weight.dims) >= SMALL:
            name, values = weight.name, numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(values, f"{name}.float16"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    # what the exporter has noted of each tensor, by name, is of no use to a runtime and names the old ones
    del model.graph.value_info[:]


def save(model: Graph, path: Path) -> int:
    """Write a graph to a file; returns its bytes."""
    content = model.SerializeToString()
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return len(content)


def agreement(graphs: Mapping[str, Graph], segmenter: PartSegmenter, network: MaskNetwork | None, size: int) -> dict:
    """Shares of the cells, in [0, 1], that ONNX Runtime and PyTorch label alike: of the parts, and of the mask.

    On images of random blots, in batches of two sizes; the lesser share counts.
    """
    import numpy as np
    from onnxruntime import InferenceSession

    sessions = {file: InferenceSession(model.SerializeToString()) for file, model in graphs.items()}
    generator = torch.Generator().manual_seed(0)

    def run(images: Tensor, encoder: str, decoder: str) -> np.ndarray:
        """Logits (N, K, h, w)."""
        names = [output.name for output in sessions[encoder].get_outputs()]
        maps = dict(zip(names, sessions[encoder].run(names, {"images": images.numpy()}), strict=True))
        inputs = {wanted.name: maps[wanted.name] for wanted in sessions[decoder].get_inputs()}
        return sessions[decoder].run(["logits"], inputs)[0]

    parts, mask = [], []
    for number in (1, 3):
        blots = torch.rand(number, 3, 9, 9, generator=generator)
        images = F.interpolate(blots, (size, size), mode="bicubic").clamp(0, 1)  # (N, 3, S, S)
        with torch.no_grad():
            expected = segmenter.decoder(segmenter.encoder(images)).numpy()  # (N, K, h, w)
        found = run(images, "encoder.onnx", "decoder.onnx")
        parts.append((found.argmax(1) == expected.argmax(1)).mean())
        if network is not None:
            images = F.interpolate(blots, (boxes.SIDE, boxes.SIDE), mode="bicubic").clamp(0, 1)
            with torch.no_grad():
                expected = network.decoder(network.maps(images)).numpy()  # (N, 1, h, w)
            encoder = "mask-encoder.onnx" if "mask-encoder.onnx" in graphs else "encoder.onnx"
            middle = np.median(expected)  # blots may hold no object at all: then half of the cells stand for it
            mask.append(((run(images, encoder, "mask.onnx") >= middle) == (expected >= middle)).mean())
    return {"parts": float(min(parts))} | ({"mask": float(min(mask))} if mask else {})


def check(shares: Mapping[str, float], half: bool) -> None:
    """ConfigError where ONNX Runtime does not compute what PyTorch does."""
    for what, share in shares.items():
        if share < AGREEMENT:
            found = f"{what}: {share:.2%} of the labels are those of PyTorch; expected {AGREEMENT:.0%}"
            remedy = "its weights do not bear float16: pass --float32" if half else "take another version of torch"
            raise ConfigError(f"{found}; nothing was written; {remedy}")


def export(
    model: str | Path, out: Path, network: str = "", half: bool = True, overwrite: bool = False
) -> dict[str, Any]:
    """Write a model of :func:`load_model`, and a mask network, into ``out``; returns what model.json says.

    ``network`` names the mask network, by default the one for the model's data set; "none" leaves it out. Where ONNX
    Runtime is installed the files are compared with PyTorch before anything is written.
    """
    require_packages()
    claim(out, CARD)
    if (out / CARD).exists() and not overwrite:
        raise ConfigError(f"{out / CARD} is there already; pass --overwrite to replace it, or another --out")
    segmenter, config = load_model(model)
    name = network or config.data
    masker = None if name == "none" else network_of(name, otherwise="or leave it out: --network none")
    parts = pieces(segmenter, masker, config.image_size)
    graphs = {file: graph(piece, half) for file, piece in parts.items()}
    shares = None
    if find_spec("onnxruntime") is not None:
        shares = agreement(graphs, segmenter, masker, config.image_size)
        check(shares, half)

    files = {}
    for file in FILES:
        (out / file).unlink(missing_ok=True)  # of an earlier export; this one may need fewer
        if file in graphs:
            names = {"inputs": list(parts[file].inputs), "outputs": list(parts[file].outputs)}
            files[file] = {**names, "bytes": save(graphs[file], out / file)}
    place = Path(model)
    card: dict[str, Any] = {
        "name": (place.parent if place.name == "model.safetensors" else place).resolve().name,
        "num_parts": config.num_parts,
        "image_size": config.image_size,  # pixels of the square around the object
        "margin": MARGIN,  # around the object's box, of its longer side
        "precision": "float16 weights, float32 computation" if half else "float32",
        "files": files,
        "agreement": shares,  # with PyTorch, shares of cells; null where it was not tried
        "versions": {"partlib": version("partlib"), "torch": torch.__version__, "python": platform.python_version()},
    }
    if masker is not None:
        encoder = "mask-encoder.onnx" if "mask-encoder.onnx" in files else "encoder.onnx"
        card["mask"] = {"network": name, "encoder": encoder, "image_size": boxes.SIDE}
        card["mask"] |= {"margin": boxes.MARGIN, "grow": GROW}
    write_json(out / CARD, card)
    return card


def described(card: Mapping[str, Any], out: Path) -> list[str]:
    """What :func:`export` has written to ``out``, line by line."""
    lines = []
    for file, about in card["files"].items():
        names = " -> ".join(", ".join(about[side]) for side in ("inputs", "outputs"))
        lines.append(f"{out / file}: {about['bytes'] / 1e6:.2f} MB, {names}")
    lines.append(str(out / CARD))
    if card["agreement"] is None:
        return [*lines, 'not compared with PyTorch, for want of onnxruntime: pip install "partlib[export]"']
    shares = ", ".join(f"{what} {share:.2%}" for what, share in card["agreement"].items())
    return [*lines, f"labels that are those of PyTorch, on random images: {shares}"]
