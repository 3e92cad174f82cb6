"""What a configuration names, fetched: its device, its images, their features."""

from typing import Any

import torch

from partlib.config import TrainConfig
from partlib.data import LARGEST_SIZE, PartDataset, load_dataset
from partlib.data.base import collate
from partlib.data.options import read_options
from partlib.errors import ConfigError
from partlib.features import FeatureBank, FeatureScaling, LiveFeatures, PerceptualFeatures, bank_bytes, feature_bank

SCALING_SAMPLE, SCALING_BATCH = 256, 16  # images


def pick_device(name: str = "auto") -> torch.device:
    """The named device, or the fastest there is; ConfigError where this machine has none of that name."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # PyTorch raises either
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used ({reason}); expected auto, cpu or cuda") from error


def training_data(
    config: TrainConfig, split: str = "train", image_size: int = 0, *, augment: bool = False
) -> PartDataset:
    """The data set that ``config`` names, at its image size or another; ``num_images`` limits the training split.

    With ``augment`` the training split is cropped and mirrored at random where ``config`` says so; without, its crops
    are fixed, so that features of them can be kept.
    """
    options = loader_options(config, split, augment) | read_options(config.data, config.data_options)
    dataset = load_dataset(config.data, split, config.root or None, image_size or config.image_size, **options)
    if split == "train" and hasattr(dataset, "subset") and 0 < config.num_images < len(dataset):
        dataset = dataset.subset(list(range(config.num_images)))
    if split == "train" and len(dataset) < config.batch_size:
        raise ConfigError(f"batch_size is {config.batch_size} but {config.data} has {len(dataset)} training images")
    return dataset


def loader_options(config: TrainConfig, split: str, augment: bool = False) -> dict[str, Any]:
    """What ``config`` asks of the loader of its data set beyond root, split and size."""
    options: dict[str, Any] = {}
    if config.data == "cub" and split == "train" and augment:
        options |= {"jitter": config.box_jitter, "mirror": config.mirror}
    if config.release_data:
        if config.data in ("cub", "deepfashion", "pascal-part"):
            options["hold_out"] = False
        if config.data in ("cub", "deepfashion"):
            options["reproduce_release"] = True
        if config.data == "pascal-part":
            options |= {"keep_without_parts": True, "crop": False}
    return options


def feature_image_size(config: TrainConfig) -> int:
    """Side in pixels of the images that features are computed from: ``feature_size``, or the largest that there is."""
    return min(config.feature_size, LARGEST_SIZE.get(config.data, config.feature_size))


def dataset_features(
    config: TrainConfig, split: str = "train", device: str | torch.device = "cpu", dataset: PartDataset | None = None
) -> FeatureBank:
    """Perceptual features of a whole split, computed once and then read from the cache.

    They come from the same crops at :func:`feature_image_size`, so the frozen network sees detail that the segmenter's
    smaller images have lost; from ``dataset``, enlarged, where one is given.
    """
    source = dataset if dataset is not None else training_data(config, split, feature_image_size(config))
    return feature_bank(source, feature_extractor(config, device))


def feature_extractor(config: TrainConfig, device: str | torch.device = "cpu") -> PerceptualFeatures:
    """The frozen network that ``config`` names."""
    extractor = PerceptualFeatures(
        config.feature_network,
        config.feature_layers or None,
        config.pretrained,
        config.feature_size,
        weights=config.feature_weights,
    )
    return extractor.to(device)


def training_features(
    config: TrainConfig, device: torch.device, train_set: PartDataset, limit_gb: float, *, own: bool
) -> FeatureBank | LiveFeatures:
    """Perceptual features of the training images: from the cache, or computed at every step where there can be none.

    Parameters
    ----------
    config : names the network and the size of the images that it sees.
    device : where the network runs.
    train_set : the training images.
    limit_gb : largest cache in gigabytes.
    own : the features come from ``train_set`` itself, enlarged; else from the same crops at a larger size.

    Raises
    ------
    ConfigError : ``config`` scales features with statistics of the training set, which random crops do not have.
    """
    if not train_set.fixed_crop:
        if config.normalize_features:
            raise ConfigError(
                "normalize_features is True, but random crops (box_jitter, mirror) have no fixed features to take "
                "statistics of; set it to False, or box_jitter to 0 and mirror to False"
            )
        return LiveFeatures(feature_extractor(config, device))
    extractor = feature_extractor(config, device)
    source = train_set if own else training_data(config, "train", feature_image_size(config))
    if bank_bytes(source, extractor) > limit_gb * 1e9:
        return LiveFeatures(extractor, None if own else source)
    return feature_bank(source, extractor, limit_gb=limit_gb)


@torch.no_grad()
def fit_scaling(source: FeatureBank | LiveFeatures, train_set: PartDataset) -> FeatureScaling:
    """Scaling of the training features: over all images of a cache, else over ``SCALING_SAMPLE`` of them."""
    if isinstance(source, FeatureBank):
        # as booleans: the masks of a large data set then take a quarter of the memory
        foregrounds = torch.stack([train_set[i].foreground > 0.5 for i in range(len(train_set))])  # (N, 1, H, W)
        return FeatureScaling.fit(source.levels, foregrounds)
    device = next(source.extractor.parameters()).device
    pick = torch.linspace(0, len(train_set) - 1, min(len(train_set), SCALING_SAMPLE)).long().tolist()
    maps, masks = [], []
    for start in range(0, len(pick), SCALING_BATCH):
        indices = pick[start : start + SCALING_BATCH]
        batch = collate([train_set[i] for i in indices])
        loaded = [z.to(device) for z in source.load(indices)]
        maps.append([z.half().cpu() for z in source.maps(loaded, batch.images.to(device))])
        masks.append(batch.foreground > 0.5)
    return FeatureScaling.fit([torch.cat(level) for level in zip(*maps, strict=True)], torch.cat(masks))
