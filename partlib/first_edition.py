"""Names of the first edition, for the runs, models and commands that still use them."""

from typing import Any

from partlib.config import LOSSES, TrainConfig
from partlib.errors import ConfigError

RENAMED = {
    **{loss: f"lambda_{loss}" for loss in LOSSES},
    **{"visual_end": "lambda_visual_end", "start_steps": "trial_steps"},
    **{"start_losses": "select_by", "backbone": "arch"},
}
ARCHS = {"efficientnet_lite0": "fpn_lite0", "resnet50": "deeplab_resnet50", "resnet50_paper": "deeplab_resnet50_paper"}
# Fields that are gone, with the values that the two recipes of this edition compute: the usual one, and the paper's.
USUAL: dict[str, Any] = {
    **{"batchnorm": "frozen", "normalize_features": True, "feature_level_weights": [], "feature_reduction": "mean"},
    **{"lab_scale": 50.0, "joint_views": True, "optimizer": "adam", "weight_decay": 0.0, "lr_horizon": 0},
    **{"positives": "all", "masked_features": False, "warp_fill": "black", "release_data": False, "input_norm": "own"},
    **{"box_jitter": 0.0, "mirror": False, "poly_power": 0.9, "grad_clip": 5.0},
}
RECIPE: dict[str, Any] = {
    **{"batchnorm": "statistics", "normalize_features": False, "feature_level_weights": [0.33, 1.0]},
    **{"feature_reduction": "sum", "lab_scale": 1.0, "joint_views": False, "optimizer": "sgd", "weight_decay": 5e-4},
    **{"lr_horizon": 100_000},
}
QUIRKS = {"positives": "release", "masked_features": True, "warp_fill": "mean", "release_data": True}
# All of them, with values of their kinds. How a start was warmed up decides nothing afterwards.
GONE = {**USUAL, **RECIPE, "pretrained": True, "backbone_weights": "", "feature_weights": ""}
GONE |= {"warmup_steps": 0, "decoder_steps": 0}


def current_fields(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of :class:`TrainConfig` from those that the first edition wrote; current ones stay as they are."""
    found: dict[str, Any] = {RENAMED.get(name, name): value for name, value in values.items() if name not in GONE}
    gone = {name: value for name, value in values.items() if name in USUAL}
    if "batch_size" in values and "views" not in values:  # a whole configuration
        found["views"] = 0  # its encoder has learned from the first step
    if "arch" in found:
        found["arch"] = ARCHS.get(found["arch"], found["arch"])
    # The paper's recipe, whose further quirks have names
    if all(gone.get(name) == value for name, value in RECIPE.items()):
        named = {"release_data": "pixels"}
        found["quirks"] = ["recipe", *(named.get(q, q) for q, value in QUIRKS.items() if gone.get(q) == value)]
        found["arch"] = found["arch"].replace("paper", gone.get("input_norm", "own").replace("own", "paper"))
        crops = {"jitter": gone["box_jitter"], "mirror": gone["mirror"]} if found["data"] == "cub" else {}
        found["data_options"] = [*found["data_options"], *(f"{key}={value}" for key, value in crops.items() if value)]
        gone = {name: gone[name] for name in ("poly_power", "grad_clip") if name in gone}
    for name, value in gone.items():
        if value != USUAL[name]:
            raise ConfigError(
                f"{name} = {value!r} was an option of the first edition, made for the paper's recipe; this one has the "
                "recipe as a whole: --preset paper, and with --reproduce-release as the authors' code"
            )
    # Weights of a network are part of its name
    usual = "" if values.get("pretrained", True) else "random"
    for old, name in (("backbone_weights", "arch"), ("feature_weights", "feature_network")):
        weights = values.get(old) or usual
        if weights:
            found[name] = f"{found.get(name, getattr(TrainConfig, name))}:{weights}"
    return found
