"""Named sets of options for ``TrainConfig.preset``; plain data, so that the command line can list them at once.

"ci" shows that everything runs, "cpu" is the recipe of the lessons, "gpu" the same with more of everything, "birds" and
"photographs" are the ones that fit the embedded birds and Clothing Co-Parsing best, "paper" is the paper's. Each lists
only what differs from the defaults of :class:`partlib.config.TrainConfig`.
"""

from typing import Any

# Paper, section 4 and appendix. Steps are those for CUB-200-2011; DeepFashion takes 100,000.
PAPER: dict[str, Any] = {
    **{"data": "cub", "image_size": 256, "num_parts": 4, "box_jitter": 0.05, "mirror": True},
    **{"backbone": "resnet50_paper", "batchnorm": "statistics", "joint_views": False},
    **{"feature_network": "vgg19", "feature_layers": ["relu3_2", "relu5_4"], "feature_level_weights": [0.33, 1.0]},
    **{"feature_size": 256, "normalize_features": False, "lab_scale": 1.0, "temperature": 0.19, "positives": "sample"},
    **{"feature": 5.0, "visual": 30.0, "contrastive": 2300.0, "equivariance": 5700.0, "feature_reduction": "sum"},
    **{"optimizer": "sgd", "lr": 1e-4, "backbone_lr": 1e-5, "weight_decay": 5e-4, "grad_clip": 5.0},
    **{"starts": 1, "batch_size": 6, "steps": 60_000, "poly_power": 0.9, "lr_horizon": 100_000},
    **{"eval_every": 5000, "log_every": 100, "checkpoint_every": 1000},
}

# A weak contrast, and many warmed-up starts that are compared by the two losses which thin parts do not lower.
CPU: dict[str, Any] = {
    **{"contrastive": 1.0, "starts": 6, "start_steps": 150, "warmup_steps": 200, "steps": 1000},
    **{"start_losses": ["feature", "equivariance"], "eval_every": 250},
}

PRESETS: dict[str, dict[str, Any]] = {
    "ci": {"steps": 30, "starts": 1, "num_images": 60, "image_size": 64, "feature_size": 128, "eval_every": 15},
    "cpu": CPU,
    "gpu": {**CPU, "steps": 4000, "batch_size": 24, "image_size": 256, "feature_size": 512, "eval_every": 500},
    # Three layers of features. The finest tells good divisions of the birds from poor ones: with two, a division that
    # gives part of the wing to the tail has as low a loss.
    "birds": {**CPU, "start_steps": 120, "feature_layers": ["stride8", "stride16", "stride32"]},
    # colours tell more about clothes than about plumage, once features have found the parts
    "photographs": {"visual_end": 150.0},
    "paper": PAPER,
}

# The sizes a lesson can run at; the other presets are recipes, for training alone.
SIZES = ("ci", "cpu", "gpu")

# The preset for a data set, where none is named; "cpu" for all others.
BY_DATA = {"birds": "birds", "ccp": "photographs"}


def default_preset(data: str) -> str:
    """The name of the preset that fits a data set best."""
    return BY_DATA.get(data, "cpu")


# What the release computes differently, where it changes numbers (docs/QUIRKS.md has the effect of each). The values
# are those of ``reproduce_release=True``; each can be had alone, or switched back, by the option of its name.
RELEASE: dict[str, Any] = {
    "input_norm": "release",
    "lr_horizon": 100_000,
    "positives": "release",
    "feature_reduction": "sum",
    "masked_features": True,
    "warp_fill": "mean",
    "joint_views": False,
    "batchnorm": "statistics",
    "release_data": True,
}
