"""Names of the first edition, for the runs, models and commands that still use them."""

from typing import Any

from partlib.config import LOSSES, TrainConfig
from partlib.errors import ConfigError

RENAMED = {
    **{loss: f"lambda_{loss}" for loss in LOSSES},
    **{"visual_end": "lambda_visual_end", "start_steps": "trial_steps", "warmup_steps": "decoder_steps"},
    **{"start_losses": "select_by", "backbone": "arch"},
}
ARCHS = {"efficientnet_lite0": "fpn_lite0", "resnet50": "deeplab_resnet50", "resnet50_paper": "deeplab_resnet50_paper"}
# Fields that are gone, with the only value that this edition still computes.
GONE: dict[str, Any] = {
    **{"box_jitter": 0.0, "mirror": False, "release_data": False, "input_norm": "own", "batchnorm": "frozen"},
    **{"normalize_features": True, "feature_level_weights": [], "feature_reduction": "mean", "masked_features": False},
    **{"lab_scale": 50.0, "positives": "all", "warp_fill": "black", "joint_views": True, "optimizer": "adam"},
    **{"weight_decay": 0.0, "poly_power": 0.9, "lr_horizon": 0, "grad_clip": 5.0},
}


def current_fields(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of :class:`TrainConfig` from those that the first edition wrote; current ones stay as they are."""
    found = {RENAMED.get(name, name): value for name, value in values.items()}
    found["arch"] = ARCHS.get(found.get("arch", ""), found.get("arch", TrainConfig.arch))
    # weights of a network are now part of its name
    usual = "" if found.pop("pretrained", True) else "random"
    for old, name in (("backbone_weights", "arch"), ("feature_weights", "feature_network")):
        weights = found.pop(old, "") or usual
        if weights:
            found[name] = f"{found.get(name, getattr(TrainConfig, name))}:{weights}"
    for name, value in GONE.items():
        given = found.pop(name, value)
        if given != value and given != ():
            raise ConfigError(
                f"{name} = {given!r} was an option of the first edition, which trained as the paper only with it; this "
                "one has it as part of a recipe: train again with --preset paper, and with --reproduce-release for the "
                "authors' code"
            )
    return found
