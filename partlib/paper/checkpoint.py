"""Checkpoints of the authors' release, ``{"iter", "model_state_dict", "optimizer_state_dict"}``, read as a segmenter.

Their network has the layers of the arch "deeplab_resnet50_release" under other names (``HOMES``). Every tensor of one
has its place in the other, or the file is refused.
"""

from pathlib import Path

from torch import Tensor

from partlib.backbones import check_tensors
from partlib.config import TrainConfig
from partlib.errors import CheckpointError
from partlib.paper.release import release_config
from partlib.paths import claim
from partlib.runs.checkpoint import read_torch, save_model, write_json
from partlib.segmenter import PartSegmenter

HOMES = {  # beginning of a name here: in the release
    "encoder.stem.0.": "conv1.",
    "encoder.stem.1.": "bn1.",
    **{f"encoder.stages.{i}.": f"layer{i + 1}." for i in range(4)},
    "decoder.branches.": "layer5.conv2d_list.",
}
HEAD = "layer5.conv2d_list.0.weight"


def load_release_checkpoint(
    path: str | Path, data: str = "cub", root: str = ""
) -> tuple[PartSegmenter, TrainConfig, dict[str, str]]:
    """The segmenter in a ``model_<steps>.pth`` of the release, in eval mode, its configuration, and where tensors went.

    The configuration is the preset "paper" with every quirk of the release, on the ``data`` that it was trained on; the
    last value is {name in the checkpoint: name in the segmenter}.
    """
    tensors = _read(Path(path))
    if HEAD not in tensors or tensors[HEAD].ndim != 4:
        network = "the release's DeepLab on ResNet-50 (model DeepLab50_2branch)"
        raise CheckpointError(f"{path} has no convolution {HEAD}; expected {network}")
    config = release_config(TrainConfig.preset("paper", data=data, root=root, num_parts=len(tensors[HEAD])))
    segmenter = PartSegmenter(config.num_parts, config.arch, "random")
    own = segmenter.state_dict()
    homes = {name: next(home for home in HOMES if name.startswith(home)) for name in own}
    names = {name.replace(home, HOMES[home], 1): name for name, home in homes.items()}  # there: here
    check_tensors({name: own[new] for name, new in names.items()}, tensors, f"checkpoint {path}")
    segmenter.load_state_dict(own | {names[name]: tensor for name, tensor in tensors.items()})
    return segmenter.eval(), config, {name: names[name] for name in tensors}


def convert_release_checkpoint(path: str | Path, out: str | Path, data: str = "cub", root: str = "") -> str:
    """Write a checkpoint of the release as a run, the folder ``out``; the text says which tensors went where."""
    out = Path(out)
    if (out / "model.safetensors").exists():
        raise CheckpointError(f"{out} holds a model already; give another --out")
    claim(out, "model.safetensors")
    segmenter, config, names = load_release_checkpoint(path, data, root)
    save_model(out / "model.safetensors", segmenter, config)
    write_json(out / "config.json", config.to_dict())
    counts = {old: sum(name.startswith(old) for name in names) for old in HOMES.values()}
    lines = [f"{counts[old]:4} tensors {old + '*':22} -> {new}*" for new, old in HOMES.items()]
    lines.append(f"{len(names):4} tensors in all, none left over")
    missing = len(segmenter.state_dict()) - len(names)
    if missing:
        lines.append(f"{missing:4} counters of BatchNorm start at 0: the checkpoint has none")
    return "\n".join(lines)


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors of the network, under the release's names."""
    stored = read_torch(path, "a .pth file of the release", "it may be cut short: fetch it again")
    tensors = stored.get("model_state_dict") if isinstance(stored, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        found = ", ".join(map(str, list(stored)[:3])) if isinstance(stored, dict) else type(stored).__name__
        raise CheckpointError(f"{path} holds {found or 'nothing'}; expected model_state_dict, as the release saves it")
    # training on several GPUs puts "module." before every name
    return {str(name).removeprefix("module."): value for name, value in tensors.items()}
