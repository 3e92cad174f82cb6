"""The smallest network that serves for the foreground masks of test images, trained on those of the training images.

The paper's scores of whole images use such masks; its authors published theirs, not the network that made them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from partlib import distributed
from partlib.augment import ColorJitter
from partlib.backbones import Lite0Encoder
from partlib.data import PartDataset
from partlib.errors import CheckpointError, ConfigError
from partlib.evaluation import batches
from partlib.loader import StepBatches, step_generator
from partlib.masks import MaskConfig
from partlib.masks.predicted import mean_iou, save_masks
from partlib.runs.build import Recipe, pick_device
from partlib.runs.checkpoint import write_json, write_tensors
from partlib.segmenter import FPNDecoder, resize
from partlib.training import GRAD_CLIP, POLY_POWER


class MaskNetwork(nn.Module):
    """Encoder and decoder of the part segmenter with a single logit per pixel: is this the object?"""

    def __init__(self, weights: str = "") -> None:
        super().__init__()
        self.encoder = Lite0Encoder(("stride4", "stride8", "stride16", "stride32"), weights)
        self.decoder = FPNDecoder(self.encoder.channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1, H, W) of images (B, 3, H, W) in [0, 1]."""
        images = images.contiguous(memory_format=torch.channels_last)
        return resize(self.decoder(self.encoder(images)), images.shape[-2:])


def train_network(config: MaskConfig, dataset: PartDataset, device: torch.device, progress: bool = True) -> MaskNetwork:
    """Train on the foregrounds of ``dataset`` by binary cross-entropy, on color-jittered and mirrored images."""
    torch.manual_seed(config.seed)
    network = MaskNetwork().to(device).to(memory_format=torch.channels_last).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # keeps its ImageNet statistics and parameters
            module.eval().requires_grad_(False)
    encoder, decoder = ([p for p in part.parameters() if p.requires_grad] for part in network.children())
    optimizer = torch.optim.Adam([{"params": encoder, "lr": config.backbone_lr}, {"params": decoder, "lr": config.lr}])
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 - step / config.steps) ** POLY_POWER)
    read, jitter = StepBatches(dataset, None, config.batch_size, config.seed, config.steps), ColorJitter()
    for step in distributed.progress_bar(range(config.steps), "mask network", shown=progress):
        # data: seed and step alone decide batch, jitter and mirroring
        (batch, _), generator = read[step], step_generator(config.seed, step)
        images, masks = jitter(batch.images, generator), batch.foreground  # (B, 3, H, W), (B, 1, H, W)
        turned = (torch.rand(len(images), generator=generator) < 0.5).view(-1, 1, 1, 1)  # (B, 1, 1, 1)
        images, masks = (torch.where(turned, x.flip(3), x).to(device) for x in (images, masks))
        # update
        loss = F.binary_cross_entropy_with_logits(network(images), masks)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), GRAD_CLIP)
        optimizer.step()
        decay.step()
    return network.eval()


def foreground(
    config: MaskConfig, out: Path, splits: Sequence[str] = ("test",), device: str = "auto", progress: bool = True
) -> dict[str, float]:
    """Train a mask network, or load that of ``out``; write its masks to ``out/masks``; returns mean IoUs in percent."""
    model, place, recipe = out / "foreground.safetensors", pick_device(device), Recipe(config.training())
    if model.is_file():
        network = load_network(model, config).to(place)
    else:
        network = train_network(config, recipe.dataset("train"), place, progress)
        weights = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
        write_tensors(model, weights, {"config": json.dumps(asdict(config))})
    scores = {}
    for split in dict.fromkeys(("val", *splits)):
        dataset, maps = recipe.dataset(split), []
        with torch.no_grad():
            for batch, _ in batches(dataset):
                maps.append((network(batch.images.to(place)).sigmoid()[:, 0].half().cpu(), batch.foreground[:, 0]))
        probabilities, annotated = (torch.cat(each) for each in zip(*maps, strict=True))  # (N, H, W), (N, H, W)
        scores[split] = mean_iou(probabilities >= 0.5, annotated >= 0.5)
        if split in splits:
            save_masks(dataset, probabilities, out / "masks")
    write_json(out / "metrics.json", {"config": asdict(config), "mean_iou": scores})
    return scores


def load_network(path: Path, config: MaskConfig) -> MaskNetwork:
    """The network of ``config`` that :func:`foreground` has saved in ``path``, in eval mode."""
    network, remedy = MaskNetwork("random"), "delete it to train it again, or use another --out"
    try:
        with safe_open(str(path), framework="pt") as stored:
            trained_with = stored.metadata()["config"]
        network.load_state_dict(load_file(path))
    except Exception as error:  # safetensors and torch have errors of their own for a broken or foreign file
        raise CheckpointError(f"{path} is no mask network of this edition of partlib; {remedy}") from error
    if trained_with != json.dumps(asdict(config)):
        raise ConfigError(f"{path} was trained with other options: {trained_with}; {remedy}")
    return network.eval()
