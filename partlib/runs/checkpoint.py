"""Files a run leaves behind: written whole or not at all, read without running any code in them."""

import io
import json
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from partlib.backbones import check_tensors
from partlib.config import TrainConfig
from partlib.errors import CheckpointError, ConfigError, brief
from partlib.first_edition import current_fields
from partlib.paths import write_atomically
from partlib.segmenter import PartSegmenter


def write_json(path: Path, values: Any) -> None:
    """Plain values as JSON; null for a number that is not finite, such as a score with nothing to compare."""
    finite = json.loads(json.dumps(values), parse_constant=lambda name: None)  # NaN, Infinity, -Infinity
    write_atomically(path, lambda p: p.write_text(json.dumps(finite, indent=2) + "\n", encoding="utf-8"))


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Named tensors as safetensors."""
    # not with save_file: it makes files that nobody but their owner may read, whatever the umask
    write_atomically(path, lambda p: p.write_bytes(save(tensors, metadata=metadata)))


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Inverse of :func:`write_tensors`: metadata and tensors; a broken file is an error of safetensors."""
    with safe_open(str(path), framework="pt") as stored:
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118, not a dict
        return stored.metadata() or {}, tensors


def check_finite(tensors: dict[str, Tensor], source: str, remedy: str) -> None:
    """CheckpointError where a weight is not a number."""
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise CheckpointError(f"{source}: its weights are not finite; {remedy}")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Everything a run needs to go on: ``state`` holds tensors, numbers, strings, lists and dicts only."""
    content = io.BytesIO()  # torch's own writing reports a full disk as an error of its archive
    torch.save({"version": version("partlib"), **state}, content)
    write_atomically(path, lambda p: p.write_bytes(content.getbuffer()))


def read_torch(path: Path, expected: str, remedy: str) -> Any:
    """What ``torch.save`` wrote; the errors name what was ``expected`` there and the ``remedy`` for a broken file."""
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist; expected {expected}")
    try:
        # torch itself does not compare the sums that are in the file: a flipped bit would be trained on
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise CheckpointError(f"checkpoint {path} may not be read; change its permissions") from error
    except Exception as error:  # torch, zipfile and pickle all have errors of their own for a broken file
        raise CheckpointError(f"checkpoint {path} cannot be read; {remedy}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Inverse of :func:`save_checkpoint`."""
    state = read_torch(path, "the checkpoint.pt of a run", "delete it to start the run over")
    if not isinstance(state, dict) or not {"version", "config", "step", "model"} <= set(state):
        raise CheckpointError(f"{path} is not a checkpoint of partlib; expected version, config, step and model in it")
    return {**state, "config": current_fields(state["config"])}


def save_model(path: Path, segmenter: PartSegmenter, config: TrainConfig, **card: str) -> None:
    """Weights as safetensors, with the configuration in the file's metadata; an encoder that was frozen is left out."""
    kept = "decoder." if config.frozen else ""
    tensors = {k: v.detach().cpu().contiguous() for k, v in segmenter.state_dict().items() if k.startswith(kept)}
    write_tensors(path, tensors, {"partlib": version("partlib"), "config": json.dumps(config.to_dict()), **card})


def pretrained() -> dict[str, Path]:
    """The models that come with the package, by name."""
    return {path.stem: path for path in sorted(Path(__file__).with_name("pretrained").glob("*.safetensors"))}


def load_pretrained(name: str) -> tuple[PartSegmenter, TrainConfig]:
    """A model that comes with the package, such as "birds-k4", ready to segment, and how it was trained."""
    if name not in pretrained():
        raise CheckpointError(f"no model {name!r} comes with partlib; expected one of {', '.join(pretrained())}")
    return load_model(pretrained()[name])


def model_card(path: Path) -> dict[str, str]:
    """What a model file says of itself: its configuration, and for a shipped one data, scores and licence, as JSON."""
    with safe_open(str(path), framework="pt") as stored:
        return stored.metadata() or {}


def load_model(path: str | Path) -> tuple[PartSegmenter, TrainConfig]:
    """The segmenter in a ``model.safetensors``, in a run folder that holds one, or of a shipped name; in eval mode."""
    shipped, path = pretrained(), Path(path) / "model.safetensors" if Path(path).is_dir() else Path(path)
    path = path if path.is_file() else shipped.get(str(path), path)
    if not path.is_file():
        folder = path.parent if path.name == "model.safetensors" else path
        remedy = f"train first: partlib train --out {folder}, or take one of {', '.join(shipped)}"
        raise CheckpointError(f"{path} does not exist; {remedy}")
    if path.suffix == ".pth":
        raise CheckpointError(f"{path} is not a model of partlib; if the release wrote it: partlib convert {path}")
    try:
        metadata, tensors = read_tensors(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file ({brief(error)}); copy it or train again"
        ) from error
    if "config" not in metadata:
        raise CheckpointError(f"{path} has no configuration in its metadata; expected a file that partlib wrote")
    try:
        config = TrainConfig.from_dict(current_fields(json.loads(metadata["config"])))
    except (ConfigError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise CheckpointError(
            f"{path}: its configuration cannot be used ({brief(error)}); copy it or train again"
        ) from error
    # an encoder that was frozen is not in the file: its weights are those that the configuration names
    frozen = not any(name.startswith("encoder.") for name in tensors)
    arch, _, weights = config.arch.partition(":")
    segmenter = PartSegmenter(config.num_parts, arch, weights if frozen else "random")
    own = segmenter.state_dict()
    if frozen:
        tensors |= {name: tensor for name, tensor in own.items() if name.startswith("encoder.")}
    check_tensors(own, tensors, str(path))
    check_finite(tensors, str(path), "every pixel would be one part; train again")
    segmenter.load_state_dict(tensors)
    return segmenter.eval(), config
