"""A small network for the foreground masks of test images, trained on the masks of the training images.

The paper's scores of whole images use predicted masks: at test time nobody hands the method a mask. Its authors trained
a segmentation network for them and published its masks, not the network; this is the smallest one that serves.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from partlib.augment import ColorJitter
from partlib.backbones import Lite0Encoder
from partlib.config import TrainConfig
from partlib.data import collate
from partlib.data.base import PartDataset
from partlib.errors import CheckpointError, ConfigError
from partlib.evaluation import batches
from partlib.loading import batch_indices
from partlib.masks.predicted import mean_iou, save_masks
from partlib.objective import step_generator
from partlib.runs.checkpoint import write_json, write_tensors
from partlib.segmenter import PyramidDecoder, resize
from partlib.sources import pick_device, training_data

MODEL = "foreground.safetensors"


class ForegroundSegmenter(nn.Module):
    """Encoder and decoder of the part segmenter with a single logit per pixel: is this the object?"""

    def __init__(self, pretrained: bool = True) -> None:
        super().__init__()
        self.encoder = Lite0Encoder(("stride4", "stride8", "stride16", "stride32"), pretrained)
        self.decoder = PyramidDecoder(self.encoder.channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1, H, W) of images (B, 3, H, W) in [0, 1]."""
        images = images.contiguous(memory_format=torch.channels_last)
        return resize(self.decoder(self.encoder(images)), images.shape[-2:])


def train_foreground(
    config: TrainConfig, dataset: PartDataset, device: str = "auto", progress: bool = True
) -> ForegroundSegmenter:
    """Train on the foregrounds of ``dataset`` by binary cross-entropy, on colour-jittered and mirrored images.

    The seed decides initial weights, batches and augmentation.

    Returns
    -------
    The network in eval mode.
    """
    torch.manual_seed(config.seed)
    network = ForegroundSegmenter(config.pretrained).to(pick_device(device)).to(memory_format=torch.channels_last)
    place = next(network.parameters()).device
    optimizer = _optimizer(network, config)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 - step / config.steps) ** config.poly_power)
    jitter = ColorJitter()
    bar = tqdm(range(config.steps), desc="foreground", disable=not progress)
    for step in bar:
        generator = step_generator(config.seed, step)
        batch = collate([dataset[i] for i in batch_indices(len(dataset), config.batch_size, config.seed, step)])
        images, masks = _mirrored(jitter(batch.images, generator), batch.foreground, generator)
        loss = F.binary_cross_entropy_with_logits(network(images.to(place)), masks.to(place))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip)
        optimizer.step()
        decay.step()
        if step % 10 == 0:  # reading a loss waits for the device
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return network.eval()


def _optimizer(network: ForegroundSegmenter, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam with a rate each for encoder and decoder. BatchNorm keeps its ImageNet statistics and parameters."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    encoder = [p for p in network.encoder.parameters() if p.requires_grad]
    groups = [{"params": encoder, "lr": config.backbone_lr}, {"params": network.decoder.parameters(), "lr": config.lr}]
    return torch.optim.Adam(groups)


def _mirrored(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half of the images (B, 3, H, W) and masks (B, 1, H, W) left for right."""
    turned = (torch.rand(len(images), generator=generator) < 0.5).view(-1, 1, 1, 1)  # (B, 1, 1, 1)
    return torch.where(turned, images.flip(3), images), torch.where(turned, masks.flip(3), masks)


@torch.no_grad()
def foreground_probabilities(network: ForegroundSegmenter, dataset: PartDataset) -> Tensor:
    """Probability (N, H, W) float16 that each pixel of ``dataset`` is foreground."""
    device = next(network.parameters()).device
    found = []
    for batch, _ in tqdm(batches(dataset), f"masks of {dataset.name} {dataset.split}", leave=False):
        found.append(network(batch.images.to(device)).sigmoid()[:, 0].half().cpu())  # (B, H, W)
    return torch.cat(found)  # (N, H, W)


def foreground(
    config: TrainConfig, out: Path, splits: Sequence[str] = ("test",), device: str = "auto", progress: bool = True
) -> dict[str, float]:
    """Train a foreground network, or load the one in ``out``, and write the masks that it predicts.

    ``out`` gets the network, ``masks/`` for the ``splits`` (see :mod:`partlib.predicted_masks`) and ``metrics.json``.

    Returns
    -------
    dict, split -> mean intersection over union with the annotated foreground, in percent; "val" is always there.

    Raises
    ------
    ConfigError : ``out`` holds a network of another configuration.
    """
    model = out / MODEL
    if model.is_file():
        network = load_foreground(model, config).to(pick_device(device))
    else:
        network = train_foreground(config, training_data(config), device, progress)
        save_foreground(model, network, config)
    scores = {}
    for split in dict.fromkeys(("val", *splits)):
        dataset = training_data(config, split)
        probabilities = foreground_probabilities(network, dataset)
        wanted = torch.stack([dataset[i].foreground[0] for i in range(len(dataset))]) >= 0.5  # (N, H, W)
        scores[split] = mean_iou(probabilities >= 0.5, wanted)
        if split in splits:
            save_masks(dataset, probabilities, out / "masks")
    write_json(out / "metrics.json", {"config": config.to_dict(), "mean_iou": scores})
    return scores


def save_foreground(path: Path, network: ForegroundSegmenter, config: TrainConfig) -> None:
    """Weights as safetensors, with the digest of the configuration in the file's metadata."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    write_tensors(path, tensors, {"foreground": config.digest()})


def load_foreground(path: Path, config: TrainConfig) -> ForegroundSegmenter:
    """The network in ``path``, in eval mode.

    Raises
    ------
    CheckpointError : not a file of :func:`save_foreground`.
    ConfigError : it was trained with another configuration.
    """
    network = ForegroundSegmenter(pretrained=False)
    try:
        with safe_open(str(path), framework="pt") as stored:
            digest = (stored.metadata() or {}).get("foreground")
            network.load_state_dict({key: stored.get_tensor(key) for key in stored.keys()})  # noqa: SIM118, not a dict
    except Exception as error:  # safetensors and torch have errors of their own for a broken or foreign file
        raise CheckpointError(
            f"{path} is not a foreground network ({str(error).splitlines()[0]}); delete it"
        ) from error
    if digest != config.digest():
        raise ConfigError(
            f"{path} was trained with other options; repeat {path.with_name('metrics.json')}, or use another --out"
        )
    return network.eval()
