"""The smallest network that finds an object in an image: ImageNet's encoder, frozen, and a decoder with one logit.

``partlib masks`` trains it on masks that GrabCut has made from boxes, ``partlib foreground`` on annotated masks of
training images: the paper's scores of whole images use predicted masks; its authors published theirs, not the network
that made them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partlib import distributed
from partlib.backbones import Lite0Encoder, check_tensors, folded
from partlib.data.base import batches
from partlib.errors import CheckpointError, ConfigError, DataError, brief
from partlib.masks import MaskConfig
from partlib.masks.predicted import mean_iou, save_masks
from partlib.paths import claim, locked
from partlib.runs.build import Recipe, pick_device
from partlib.runs.checkpoint import check_finite, read_tensors, write_json, write_tensors
from partlib.segmenter import FPNDecoder, resize
from partlib.training import GRAD_CLIP, POLY_POWER

SOFT = 0.05  # targets are SOFT and 1 - SOFT: some masks are wrong


class MaskNetwork(nn.Module):
    """Is this pixel part of the object? Only the decoder is trained, and stored."""

    def __init__(self, weights: str = "") -> None:
        super().__init__()
        encoder = Lite0Encoder(("stride4", "stride8", "stride16", "stride32"), weights)
        self.encoder = folded(encoder).requires_grad_(False)
        self.decoder = FPNDecoder(encoder.channels, 1)

    @torch.no_grad()
    def maps(self, images: Tensor) -> list[Tensor]:
        """What the encoder sees of images (B, 3, S, S) in [0, 1]: (B, C_l, h_l, w_l) per layer."""
        return self.encoder(images.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (B, 1, S, S) of images (B, 3, S, S) in [0, 1]: of the mean over each and its mirror image."""
        logits = self.decoder(self.maps(torch.cat([images, images.flip(3)])))  # (2 B, 1, h, w)
        plain, turned = logits.chunk(2)
        return resize((plain + turned.flip(3)) / 2, images.shape[-2:]).sigmoid()

    def save(self, path: Path, card: dict[str, str]) -> None:
        """The decoder as safetensors, with what there is to say of it."""
        write_tensors(path, {key: z.cpu().contiguous() for key, z in self.decoder.state_dict().items()}, card)


def train_network(
    images: Sequence[Tensor],  # (3, S, S) each, in [0, 1]
    masks: Sequence[Tensor],  # (S, S) each, bool
    *,
    steps: int = MaskConfig.steps,
    batch_size: int = MaskConfig.batch_size,
    lr: float = MaskConfig.lr,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> MaskNetwork:
    """A network trained by binary cross-entropy on images, and their mirror images, of any one size."""
    torch.manual_seed(seed)
    network, generator = MaskNetwork().to(device), torch.Generator().manual_seed(seed)
    # What the encoder sees never changes: once for every image and its mirror image
    stored: tuple[list[list[Tensor]], ...] = ([], [])
    for image in distributed.progress_bar(images, "maps of examples", leave=False):
        both = torch.stack([image, image.flip(2)]).to(device)  # (2, 3, S, S)
        for turned, place in enumerate(stored):
            place.append([z[turned].half() for z in network.maps(both)])
    layers = [[torch.stack(layer) for layer in zip(*place, strict=True)] for place in stored]  # (N, C, h, w) each
    cells = layers[0][0].shape[-2:]
    targets = torch.stack([F.interpolate(mask[None, None].float(), cells, mode="area")[0] for mask in masks])
    targets = targets.clamp(SOFT, 1 - SOFT).to(device)  # (N, 1, h, w)
    optimizer = torch.optim.Adam(network.decoder.parameters(), lr=lr)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 - step / steps) ** POLY_POWER)
    for _ in distributed.progress_bar(range(steps), "mask network", leave=False):
        pick = torch.randint(len(images), (batch_size,), generator=generator)
        mirror = (torch.rand(batch_size, generator=generator) < 0.5).view(-1, 1, 1, 1).to(device)  # (B, 1, 1, 1)
        maps = [torch.where(mirror, z1[pick], z0[pick]).float() for z0, z1 in zip(*layers, strict=True)]
        wanted = torch.where(mirror, targets[pick].flip(3), targets[pick])
        loss = F.binary_cross_entropy_with_logits(network.decoder(maps), wanted)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.decoder.parameters(), GRAD_CLIP)
        optimizer.step()
        decay.step()
    return network.eval()


def foreground(
    config: MaskConfig, out: Path, splits: Sequence[str] = ("test",), device: str = "auto"
) -> dict[str, float]:
    """Train a mask network, or load that of ``out``; write its masks to ``out/masks``; returns mean IoUs in percent."""
    claim(out, "foreground.safetensors")
    with locked(out):
        return _foreground(config, out, splits, device)


def _foreground(config: MaskConfig, out: Path, splits: Sequence[str], device: str) -> dict[str, float]:
    model, place, recipe = out / "foreground.safetensors", pick_device(device), Recipe(config.training())
    if model.is_file():
        network, card = load_network(model)
        if card.get("config") != json.dumps(asdict(config)):
            remedy = "delete it to train it again, or use another --out"
            raise ConfigError(f"{model} was trained with other options: {card.get('config')}; {remedy}")
    else:
        dataset = recipe.dataset("train")
        pick = torch.linspace(0, len(dataset) - 1, min(len(dataset), config.examples)).round().int().tolist()
        images, masks = zip(*((s.image, s.foreground[0] > 0.5) for s in (dataset[i] for i in pick)), strict=True)
        if all(bool(mask.all()) for mask in masks):
            remedy = f"there is nothing to learn; partlib masks --data {config.data} makes masks without any"
            raise DataError(f"data set {config.data!r} has no masks, its objects fill their images: {remedy}")
        settings = {"steps": config.steps, "batch_size": config.batch_size, "lr": config.lr, "seed": config.seed}
        network = train_network(images, masks, **settings, device=place)  # type: ignore[arg-type]
        network.save(model, {"config": json.dumps(asdict(config))})
    network, scores = network.to(place), {}
    for split in dict.fromkeys(("val", *splits)):
        dataset, maps = recipe.dataset(split), []
        for batch, _ in batches(dataset):
            maps.append((network(batch.images.to(place))[:, 0].half().cpu(), batch.foreground[:, 0]))
        probabilities, annotated = (torch.cat(each) for each in zip(*maps, strict=True))  # (N, H, W), (N, H, W)
        scores[split] = mean_iou(probabilities >= 0.5, annotated >= 0.5)
        if split in splits:
            save_masks(dataset, probabilities, out / "masks")
    write_json(out / "metrics.json", {"config": asdict(config), "mean_iou": scores})
    return scores


def load_network(path: Path) -> tuple[MaskNetwork, dict[str, str]]:
    """The network that :meth:`MaskNetwork.save` has written to ``path``, in eval mode, and what is said of it."""
    network, remedy = MaskNetwork(), "delete it to train it again, or name another"
    try:
        card, tensors = read_tensors(path)
        check_tensors(network.decoder.state_dict(), tensors, str(path))
    except Exception as error:  # safetensors has errors of its own for a broken or foreign file
        raise CheckpointError(f"{path} is no mask network of this edition ({brief(error)}); {remedy}") from error
    check_finite(tensors, str(path), remedy)
    network.decoder.load_state_dict(tensors)
    return network.eval(), card
