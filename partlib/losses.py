"""The four losses of the paper, each a pure function of tensors (sections 3.1 to 3.4).

consistency_loss    the features (or colours) of a part should look alike            feature and visual loss
contrastive_loss    the same part of two images is nearer than two different parts
equivariance_loss   the parts of a warped image are the warped parts

All run in float32 or float64, also inside ``torch.autocast``: sums over 65,536 pixels do not survive bfloat16.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from partlib.errors import ConfigError
from partlib.moments import downsample_adjoint, first_moments, upsampled_square_norm

Loss = TypeVar("Loss", bound=Callable[..., Tensor])
Levels = Tensor | Sequence[Tensor]
REDUCTIONS = ("mean", "sum", "none")
POSITIVES = ("all", "sample", "release")


def _in_full_precision(loss: Loss) -> Loss:
    """Switch autocast off inside ``loss`` and lift its half-precision arguments to float32."""

    def lift(value):
        if isinstance(value, Tensor):
            return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
        return [lift(v) for v in value] if isinstance(value, list | tuple) else value

    @wraps(loss)
    def in_full_precision(*args, **options) -> Tensor:
        devices = [v.device.type for v in (*args, *options.values()) if isinstance(v, Tensor)]
        with torch.autocast(devices[0] if devices else "cpu", enabled=False):
            return loss(*map(lift, args), **{k: lift(v) for k, v in options.items()})

    return in_full_precision  # type: ignore[return-value]


@_in_full_precision
def consistency_loss(
    part_maps: Tensor,
    targets: Levels,
    foreground: Tensor,
    *,
    reduction: str = "mean",
    eps: float = 1e-5,
    masked_targets: bool = False,
) -> Tensor:
    """How much the targets vary within each part: feature loss and visual loss (paper eq. 3 and 4).

    With m_k the part maps, f the foreground and z the targets, all at the size of the part maps,

        mu_k = sum_u m_k z / (sum_u m_k + eps)
        loss = sum_k sum_u f m_k |z - mu_k|^2 / (sum_u f + eps)          per image.

    The square is expanded, so that only sums of m_k, m_k z and |z|^2 remain, and none of them needs the upsampled
    targets (see :mod:`partlib.moments`): time and memory do not grow with channels times pixels. The identity is exact,
    both epsilons and a soft foreground included.

    Parameters
    ----------
    part_maps : (B, K, H, W), softmax times foreground, in [0, 1].
    targets : (B, C, h, w), features or colours in any unit; a smaller (h, w) stands for its bilinear upsampling with
        ``align_corners=True``. Or several of them, of different sizes: they count as stacked along the channels.
    foreground : (B, 1, H, W) in [0, 1]. It enters twice, in ``part_maps`` and here, as in the release; that is visible
        only where it is neither 0 nor 1.
    reduction : "mean" or "sum" over the images, or "none" for one value per image. The release sums the feature loss
        and averages the visual loss.
    eps : added to both denominators; an image without foreground has loss 0.
    masked_targets : multiply the upsampled targets with the foreground first, as the release does with features. No
        difference for a binary foreground; for a soft one the targets can then not be centred, at a cost in digits.

    Returns
    -------
    Scalar, or (B,) for ``reduction="none"``.

    Raises
    ------
    ConfigError : shapes that do not fit, or an unknown reduction.
    """
    levels = _levels(part_maps, targets, foreground)
    if reduction not in REDUCTIONS:
        raise ConfigError(f"reduction is {reduction!r}; expected one of {', '.join(REDUCTIONS)}")
    mask = foreground if masked_targets else None
    variation = torch.stack([_variation(part_maps, z, foreground, eps, mask) for z in levels]).sum(dim=0)  # (B,)
    per_image = variation / (foreground.sum(dim=(1, 2, 3)) + eps)
    return per_image if reduction == "none" else getattr(per_image, reduction)()


def _variation(part_maps: Tensor, z: Tensor, foreground: Tensor, eps: float, mask: Tensor | None) -> Tensor:
    """sum_k sum_u f m_k |x - mu_k|^2 with x the upsampled z (times ``mask`` where given), (B,).

    Expanded: A - 2 sum_k mu_k . W1_k + sum_k |mu_k|^2 W0_k with A = sum_ku w_k |x|^2, W1_k = sum_u w_k x,
    W0_k = sum_u w_k and w_k = f m_k. The large terms cancel, which costs digits unless x is centred. Of the means,
    mu_k = S1_k / (S0_k + eps), centring by c makes (S1_k - eps c) / (S0_k + eps), exactly.
    """
    num_parts = part_maps.shape[1]
    weighted = part_maps * foreground  # (B, K, H, W)
    weights = torch.cat([part_maps, weighted], dim=1)  # (B, 2K, H, W): for S and for W
    zeroth = weights.sum(dim=(2, 3))  # (B, 2K)
    norm_weight = weighted.sum(dim=1)  # (B, H, W)
    if mask is None:
        center = _foreground_mean(z, foreground)  # (B, C)
        z = z - center[:, :, None, None]
    else:
        center = z.new_zeros(z.shape[:2])  # (B, C)
        weights, norm_weight = weights * mask, norm_weight * mask[:, 0] ** 2
    s1, w1 = first_moments(weights, z).split(num_parts, dim=1)  # (B, K, C) each
    s0, w0 = zeroth.split(num_parts, dim=1)  # (B, K) each
    mu = (s1 - eps * center[:, None]) / (s0 + eps)[..., None]  # (B, K, C)
    a = (norm_weight * upsampled_square_norm(z, part_maps.shape[-2:])).sum(dim=(1, 2))  # (B,)
    return a - 2 * (mu * w1).sum(dim=(1, 2)) + ((mu**2).sum(dim=2) * w0).sum(dim=1)


@torch.no_grad()
def _foreground_mean(z: Tensor, foreground: Tensor) -> Tensor:
    """Mean of the upsampled z over the foreground, (B, C); 0 where there is none.

    The loss does not depend on the point it is centred at, so this is a constant to the gradient.
    """
    weight = downsample_adjoint(foreground, z.shape[-2:])  # (B, 1, h, w)
    total = weight.sum(dim=(2, 3)).clamp(min=torch.finfo(z.dtype).tiny)  # (B, 1)
    return (weight.flatten(2) @ z.flatten(2).transpose(1, 2))[:, 0] / total


@_in_full_precision
def part_descriptors(
    part_maps: Tensor, features: Levels, *, foreground: Tensor | None = None, eps: float = 1e-7
) -> Tensor:
    """Mean feature vector of every part, v_k = sum_u m_k z / (sum_u m_k + eps) (paper section 3.2).

    Parameters
    ----------
    part_maps : (B, K, H, W), softmax times foreground.
    features : (B, C, h, w) or several of different sizes, stacked along the channels; smaller than (H, W) they stand
        for their bilinear upsampling, as in :func:`consistency_loss`.
    foreground : (B, 1, H, W), to multiply the upsampled features with it first, as the release does; no difference for
        a binary foreground.
    eps : keeps the descriptor of an empty part finite (zero). The release uses another one than in the loss.

    Returns
    -------
    (B, K, C), C summed over the levels.

    Raises
    ------
    ConfigError : shapes that do not fit.
    """
    levels = _levels(part_maps, features, foreground)
    mass = part_maps.sum(dim=(2, 3))  # (B, K)
    weights = part_maps if foreground is None else part_maps * foreground
    sums = torch.cat([first_moments(weights, z) for z in levels], dim=2)  # (B, K, C)
    return sums / (mass + eps)[..., None]


@_in_full_precision
def contrastive_loss(
    descriptors: Tensor,
    temperature: float,
    positives: str | Tensor = "all",
    generator: torch.Generator | None = None,
) -> Tensor:
    """InfoNCE over part descriptors: find the same part in another image among all other parts (paper eq. 5 and 6).

    For row (b, k) with a positive p, -log( e^{s_p} / (e^{s_p} + sum_n e^{s_n}) ) where s is the cosine over the
    temperature and n runs over all *other* parts of all images, its own included. Other positives are not in the
    denominator. The mean is taken over the B K rows.

    Parameters
    ----------
    descriptors : (B, K, C), normalised here.
    temperature : scale of the cosine; the paper's is 0.19.
    positives : which images give the positive of a row.
        "all": each of the B - 1 other images, averaged (the expectation of "sample", without its noise).
        "sample": one of them, drawn evenly for every row (the paper).
        "release": one of them, but never the first of the other images (the release's draw; needs B >= 3).
        Tensor (B K,) of image indices: a draw made elsewhere; row b K + k is part k of image b.
    generator : CPU generator for the draws.

    Returns
    -------
    Scalar.

    Raises
    ------
    ConfigError : fewer than two images or parts, a temperature that is not positive, unknown ``positives``, or drawn
        images that are out of range or the row's own.
    """
    if descriptors.ndim != 3:
        raise ConfigError(f"descriptors have shape {tuple(descriptors.shape)}; expected (images, parts, channels)")
    batch, num_parts, _ = descriptors.shape
    if batch < 2 or num_parts < 2:
        raise ConfigError(
            f"the contrastive loss compares parts across images, but got {batch} image(s) with {num_parts} part(s); "
            "use a batch of at least 2 images and at least 2 parts, or set its weight to 0"
        )
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature}; expected a positive number such as 0.19")
    rows = torch.arange(batch * num_parts, device=descriptors.device)
    image, part = rows // num_parts, rows % num_parts
    same_part = part[:, None] == part  # (BK, BK)
    other_image = image[:, None] != image  # (BK, BK)
    positive = same_part & other_image & _chosen(positives, batch, num_parts, generator, image)
    unit = F.normalize(descriptors.flatten(0, 1), dim=1)  # (BK, C)
    similarity = unit @ unit.T / temperature  # (BK, BK)
    negative = similarity.masked_fill(same_part, -torch.inf).logsumexp(dim=1, keepdim=True)  # (BK, 1)
    loss = -F.logsigmoid(similarity - negative)  # -log(e^s / (e^s + e^negative)) for every pair
    # Every row has the same number of positives, so the mean over pairs is the mean over rows.
    return (loss * positive).sum() / positive.sum()


def draw_positives(
    batch: int, num_parts: int, *, skip_first: bool = False, generator: torch.Generator | None = None
) -> Tensor:
    """For every part of every image another image, drawn evenly: (B K,) int64; row b K + k is part k of image b.

    ``skip_first`` leaves out the first of the other images, as the release does (for image 0 that is image 1, for all
    others image 0).
    """
    first = 1 if skip_first else 0
    if first >= batch - 1:
        raise ConfigError(f'positives="release" needs at least 3 images, got {batch}; use "all" or "sample"')
    image = torch.arange(batch).repeat_interleave(num_parts)  # (BK,)
    drawn = torch.randint(first, batch - 1, (batch * num_parts,), generator=generator)
    return drawn + (drawn >= image)  # the n-th of the other images is image n, or n + 1 from the own image on


def _chosen(
    positives: str | Tensor, batch: int, num_parts: int, generator: torch.Generator | None, image: Tensor
) -> Tensor:
    """Which images may give the positive of a row: bool, broadcastable to (BK, BK)."""
    if isinstance(positives, Tensor):
        drawn, rows = positives.to(image.device), batch * num_parts
        valid = drawn.shape == (rows,) and not drawn.is_floating_point()
        if not valid or not bool(((drawn >= 0) & (drawn < batch) & (drawn != image)).all()):
            raise ConfigError(
                f"positives is a {positives.dtype} tensor of shape {tuple(positives.shape)}; expected {rows} integers, "
                f"each the index (0 to {batch - 1}) of an image other than the row's own"
            )
        return drawn[:, None] == image
    if positives == "all":
        return torch.ones(1, 1, dtype=torch.bool, device=image.device)
    if positives not in POSITIVES:
        raise ConfigError(f"positives is {positives!r}; expected one of {', '.join(POSITIVES)} or a tensor of images")
    drawn = draw_positives(batch, num_parts, skip_first=positives == "release", generator=generator)
    return drawn.to(image.device, non_blocking=True)[:, None] == image


@_in_full_precision
def equivariance_loss(
    logits_of_warped: Tensor, warped_logits: Tensor, foreground: Tensor, *, reduction: str = "mean", eps: float = 1e-7
) -> Tensor:
    """KL(parts of the image, warped || parts of the warped image) over the foreground (paper eq. 7).

    One-sided as in the release: the warped parts are the target and get no gradient.

    Parameters
    ----------
    logits_of_warped : (B, K, H, W), network(warp(image)).
    warped_logits : (B, K, H, W), warp(network(image)); detached here.
    foreground : (B, 1, H, W) in [0, 1], the warped foreground: 0 where the warp leaves the image.
    reduction : "mean" or "sum" over the images, or "none".
    eps : added to the foreground area; an image without foreground has loss 0.

    Returns
    -------
    Scalar (nats per foreground pixel), or (B,) for ``reduction="none"``.

    Raises
    ------
    ConfigError : shapes that do not fit, or an unknown reduction.
    """
    if logits_of_warped.shape != warped_logits.shape:
        raise ConfigError(
            f"logits_of_warped {tuple(logits_of_warped.shape)} and warped_logits {tuple(warped_logits.shape)} differ"
        )
    _levels(logits_of_warped, [], foreground)
    if reduction not in REDUCTIONS:
        raise ConfigError(f"reduction is {reduction!r}; expected one of {', '.join(REDUCTIONS)}")
    target, prediction = warped_logits.detach().log_softmax(dim=1), logits_of_warped.log_softmax(dim=1)
    divergence = (target.exp() * (target - prediction)).sum(dim=1, keepdim=True)  # (B, 1, H, W)
    per_image = (divergence * foreground).sum(dim=(1, 2, 3)) / (foreground.sum(dim=(1, 2, 3)) + eps)  # (B,)
    return per_image if reduction == "none" else getattr(per_image, reduction)()


def _levels(maps: Tensor, targets: Levels, foreground: Tensor | None) -> list[Tensor]:
    """The targets as a list, after checking every shape against maps (B, K, H, W)."""
    levels = [targets] if isinstance(targets, Tensor) else list(targets)
    if maps.ndim != 4:
        raise ConfigError(f"part maps have shape {tuple(maps.shape)}; expected (images, parts, height, width)")
    expected = (maps.shape[0], 1, *maps.shape[-2:])
    if foreground is not None and foreground.shape != expected:
        raise ConfigError(f"foreground has shape {tuple(foreground.shape)}; expected {expected} to fit the part maps")
    for z in levels:
        if z.ndim != 4 or len(z) != len(maps):
            raise ConfigError(f"targets have shape {tuple(z.shape)}; expected ({len(maps)}, channels, height, width)")
    return levels
