"""Checkpoints of the authors' release, read into this library's segmenter.

The release saves ``{"iter", "model_state_dict", "optimizer_state_dict"}``. Its network has the layers of
``PartSegmenter(backbone="resnet50_paper")`` under other names::

    conv1, bn1                 encoder.stem.0, encoder.stem.1
    layer1 ... layer4          encoder.stages.0 ... encoder.stages.3
    layer5.conv2d_list.0 ... 3 decoder.branches.0 ... 3

Every tensor of one has its place in the other, or the file is refused.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from partlib.backbones import check_tensors
from partlib.config import TrainConfig
from partlib.errors import CheckpointError
from partlib.runs.checkpoint import save_model, write_json
from partlib.segmenter import PartSegmenter

HOMES = {
    "encoder.stem.0.": "conv1.",
    "encoder.stem.1.": "bn1.",
    **{f"encoder.stages.{i}.": f"layer{i + 1}." for i in range(4)},
    "decoder.branches.": "layer5.conv2d_list.",
}
HEAD = "layer5.conv2d_list.0.weight"


@dataclass(frozen=True)
class Mapping:
    """How the names of a checkpoint became those of the segmenter.

    Attributes
    ----------
    names : {name in the checkpoint: name in the segmenter}.
    fresh : tensors of the segmenter that the checkpoint need not have and has not: counters of BatchNorm.
    iteration : training step at which the checkpoint was written; -1 where it does not say.
    """

    names: dict[str, str]
    fresh: tuple[str, ...]
    iteration: int

    def report(self) -> str:
        """Lines for the reader: which tensors went where, and which of the segmenter's keep their initial value."""
        lines = []
        for new, old in HOMES.items():
            count = sum(name.startswith(old) for name in self.names)
            lines.append(f"{count:4} tensors {old + '*':22} -> {new}*")
        lines.append(f"{len(self.names):4} tensors in all, none left over")
        if self.fresh:
            lines.append(f"{len(self.fresh):4} counters of BatchNorm start at 0: the checkpoint has none")
        return "\n".join(lines)


def load_release_checkpoint(
    path: str | Path, data: str = "cub", root: str = ""
) -> tuple[PartSegmenter, TrainConfig, Mapping]:
    """The segmenter in a checkpoint of the release, ready to segment.

    Parameters
    ----------
    path : the ``model_<steps>.pth``.
    data, root : data set that it was trained on; they go into the configuration, from where ``partlib evaluate`` takes
        them.

    Returns
    -------
    The segmenter in eval mode, its configuration (preset "paper" with ``reproduce_release=True``: the weights expect
    the release's input scale), and what became of each tensor.

    Raises
    ------
    CheckpointError : the file is missing, broken or holds something else; a tensor is missing, left over or of another
        shape. The message names the first three.
    """
    path = Path(path)
    tensors, iteration = _read(path)
    if HEAD not in tensors or tensors[HEAD].ndim != 4:
        raise CheckpointError(
            f"{path} has no convolution {HEAD}; expected the release's DeepLab on ResNet-50 (model DeepLab50_2branch)"
        )
    config = TrainConfig.preset(
        "paper", reproduce_release=True, data=data, root=root, num_parts=len(tensors[HEAD]), pretrained=False
    )
    segmenter = PartSegmenter.from_config(config, start=False)
    own = segmenter.state_dict()
    names = {release_name(name): name for name in own}
    check_tensors({name: own[new] for name, new in names.items()}, tensors, f"checkpoint {path}")
    segmenter.load_state_dict({**own, **{names[name]: tensor for name, tensor in tensors.items()}}, strict=True)
    fresh = tuple(new for name, new in names.items() if name not in tensors)
    return segmenter.eval(), config, Mapping({name: names[name] for name in tensors}, fresh, iteration)


def release_name(name: str) -> str:
    """What the release calls the tensor ``name`` of a segmenter with the backbone "resnet50_paper"."""
    home = next(home for home in HOMES if name.startswith(home))
    return HOMES[home] + name.removeprefix(home)


def convert_release_checkpoint(path: str | Path, out: str | Path, data: str = "cub", root: str = "") -> Mapping:
    """Write a checkpoint of the release as a run: ``model.safetensors`` and ``config.json`` in the folder ``out``.

    Raises
    ------
    CheckpointError : see :func:`load_release_checkpoint`, or ``out`` holds a model already.
    """
    out = Path(out)
    if (out / "model.safetensors").exists():
        raise CheckpointError(f"{out} holds a model already; give another --out")
    segmenter, config, mapping = load_release_checkpoint(path, data, root)
    save_model(out / "model.safetensors", segmenter, config)
    write_json(out / "config.json", config.to_dict())
    return mapping


def _read(path: Path) -> tuple[dict[str, Tensor], int]:
    """Tensors of the network, under the release's names, and the iteration."""
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist; expected a .pth file of the release")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle all have errors of their own for a broken file
        raise CheckpointError(f"checkpoint {path} cannot be read; it may be cut short: fetch it again") from error
    tensors = stored.get("model_state_dict") if isinstance(stored, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        found = ", ".join(map(str, list(stored)[:3])) if isinstance(stored, dict) else type(stored).__name__
        raise CheckpointError(f"{path} holds {found or 'nothing'}; expected model_state_dict, as the release saves it")
    # training on several GPUs puts "module." before every name
    named = {str(name).removeprefix("module."): value for name, value in tensors.items()}
    return named, int(stored.get("iter", -1))
