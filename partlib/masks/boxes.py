"""Object masks from boxes alone, no mask annotated anywhere: ``partlib masks``.

Three steps. GrabCut (Rother, Kolmogorov, Blake, SIGGRAPH 2004) tells the object in a box from what lies around it, by
color; it fails where the two look alike. A network, trained for a minute on the masks that look sound, learns what
the objects have in common. A second GrabCut then starts from what the network says instead of from the box, so that
the mask ends at edges of the image again.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partlib import distributed
from partlib.backbones import Lite0Encoder, folded
from partlib.errors import DataError
from partlib.segmenter import FPNDecoder, resize
from partlib.training import GRAD_CLIP, POLY_POWER

SIDE = 256  # pixels of the square that is looked at
MARGIN = 0.15  # around the box, of its longer side: what the background looks like
ROUNDS, ROUNDS_AGAIN = 6, 2  # of GrabCut from the box, and from the network's answer
SURE = 0.9  # probability from which a pixel is fixed for the second GrabCut, and 1 - SURE
SOUND = (0.15, 0.9)  # share of its box that a sound mask covers
SOFT = 0.05  # targets are SOFT and 1 - SOFT: some masks are wrong

Box = tuple[int, int, int, int]  # (x0, y0, x1, y1), first and last pixel


class Crop(NamedTuple):
    """A square picture (SIDE, SIDE, 3) uint8 and the box of the object in it."""

    image: np.ndarray
    box: Box


def grabcut(image: np.ndarray, state: np.ndarray, rounds: int) -> np.ndarray:
    """Mask (S, S) bool from OpenCV's states (S, S): 0 background, 1 object, 2 and 3 the same but open to change."""
    import cv2  # on use: only this command needs it

    bgr, state = np.ascontiguousarray(image[..., ::-1]), state.astype(np.uint8)
    models, rectangle = np.zeros((2, 1, 65)), (0, 0, 1, 1)  # filled by OpenCV; not looked at
    cv2.grabCut(bgr, state, rectangle, models[0], models[1], rounds, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    return state % 2 == 1


def from_box(crop: Crop) -> np.ndarray:
    """Mask (S, S) bool: all of the box may be object, nothing outside is."""
    return grabcut(crop.image, np.where(inside(crop.box), 3, 0), ROUNDS)


def inside(box: Box) -> np.ndarray:
    """Pixels (SIDE, SIDE) bool of a box, at least one."""
    x0, y0, x1, y1 = np.clip(box, 0, SIDE - 1)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return mask


def is_sound(mask: np.ndarray, box: Box) -> bool:
    """Whether a mask looks like an object in its box: neither next to nothing nor all of it, and it reaches its sides.

    A box is tight: the object touches all four sides, so a mask that stops far from one has lost a piece.
    """
    within = inside(box)
    share = mask.sum() / within.sum()
    if not SOUND[0] <= share <= SOUND[1]:
        return False
    ys, xs = np.nonzero(mask)
    found, wanted = np.array([xs.min(), ys.min(), xs.max(), ys.max()]), np.clip(box, 0, SIDE - 1)
    reach = max(wanted[2] - wanted[0], wanted[3] - wanted[1]) * 0.15
    return bool((np.abs(found - wanted) <= reach).all())


class BoxNetwork(nn.Module):
    """ImageNet's encoder, frozen, and a decoder with one logit per pixel: is this the object?"""

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
    def probability(self, crop: Crop) -> np.ndarray:
        """Probability (S, S) of the object, the mean over the image and its mirror image; 0 outside of the box."""
        image = to_tensor(crop.image)
        logits = self.decoder(self.maps(torch.stack([image, image.flip(2)])))  # (2, 1, h, w)
        mean = (logits[:1] + logits[1:].flip(3)) / 2
        return resize(mean, crop.image.shape[:2]).sigmoid()[0, 0].numpy() * inside(crop.box)


def to_tensor(image: np.ndarray) -> Tensor:
    """A picture (S, S, 3) uint8 as a tensor (3, S, S) in [0, 1]."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255


def train(crops: Sequence[Crop], masks: Sequence[np.ndarray], steps: int = 300, seed: int = 0) -> BoxNetwork:
    """A network trained on masks (S, S) bool of the crops, by binary cross-entropy, mirror images included."""
    torch.manual_seed(seed)
    network, generator, batch = BoxNetwork(), torch.Generator().manual_seed(seed), 12
    # What the encoder sees never changes: once for every picture and its mirror image
    stored: tuple[list[list[Tensor]], ...] = ([], [])
    for crop in distributed.progress_bar(crops, "maps of examples", leave=False):
        both = torch.stack([to_tensor(crop.image), to_tensor(crop.image).flip(2)])  # (2, 3, S, S)
        for turned, place in enumerate(stored):
            place.append([z[turned].half() for z in network.maps(both)])
    layers = [[torch.stack(layer) for layer in zip(*place, strict=True)] for place in stored]  # (N, C, h, w) each
    targets = torch.from_numpy(np.stack(masks)).float()[:, None]  # (N, 1, S, S)
    targets = F.interpolate(targets, layers[0][0].shape[-2:], mode="area").clamp(SOFT, 1 - SOFT)  # (N, 1, h, w)
    optimizer = torch.optim.Adam(network.decoder.parameters(), lr=2e-3)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 - step / steps) ** POLY_POWER)
    for _ in distributed.progress_bar(range(steps), "mask network", leave=False):
        pick = torch.randint(len(crops), (batch,), generator=generator)
        mirror = (torch.rand(batch, generator=generator) < 0.5).view(-1, 1, 1, 1)  # (B, 1, 1, 1)
        maps = [torch.where(mirror, z1[pick], z0[pick]).float() for z0, z1 in zip(*layers, strict=True)]
        wanted = torch.where(mirror, targets[pick].flip(3), targets[pick])
        loss = F.binary_cross_entropy_with_logits(network.decoder(maps), wanted)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.decoder.parameters(), GRAD_CLIP)
        optimizer.step()
        decay.step()
    return network.eval()


def refined(crop: Crop, probability: np.ndarray) -> np.ndarray:
    """Mask (S, S) bool: GrabCut from probabilities (S, S), of which those near 0 and 1 are fixed."""
    state = np.where(probability >= 0.5, 3, 2)
    state[probability < 1 - SURE], state[probability > SURE] = 0, 1
    if not ((state % 2 == 1).any() and (state % 2 == 0).any()):  # GrabCut needs some of both
        return probability >= 0.5
    return grabcut(crop.image, state, ROUNDS_AGAIN)


def learn(crops: Iterable[Crop], total: int) -> tuple[BoxNetwork, dict[str, int]]:
    """A network that has learned from the sound ones of GrabCut's masks of the crops, and how many there were."""
    kept: list[tuple[Crop, np.ndarray]] = []
    for crop in distributed.progress_bar(crops, "GrabCut", total, leave=False):
        mask = from_box(crop)
        if is_sound(mask, crop.box):
            kept.append((crop, mask))
    if not kept:
        remedy = "the object should stand out from the rim of its box; give more photographs, or masks made otherwise"
        raise DataError(f"masks: of {total} photographs GrabCut found no object; {remedy}")
    network = train([crop for crop, _ in kept], [mask for _, mask in kept])
    return network, {"examples": total, "sound": len(kept)}
