"""The four losses of the paper, each a pure function of tensors (sections 3.1 to 3.4).

* ``consistency_loss``: the features (or colors) of a part should look alike; this is feature loss and visual loss
* ``contrastive_loss``: the same part of two images is nearer than two different parts
* ``equivariance_loss``: the parts of a warped image are the warped parts

All want float32 or float64, outside of ``torch.autocast``: sums over 65,536 pixels do not survive bfloat16.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from partlib.moments import downsample_adjoint, first_moments, upsampled_square_norm

Maps = Tensor | Sequence[Tensor]


def consistency_loss(
    part_maps: Tensor,  # (B, K, H, W), softmax times foreground, in [0, 1]
    targets: Maps,  # (B, C, h, w), features or colors in any unit, or several of them, of different sizes
    foreground: Tensor,  # (B, 1, H, W) in [0, 1]; it is in ``part_maps`` too, as in the release
    *,
    reduction: str = "mean",  # over the images, or "none" for one value per image, (B,)
    eps: float = 1e-5,
) -> Tensor:
    r"""How much the targets vary within each part: feature loss and visual loss (paper eq. 3 and 4).

    With m_k the part maps, f the foreground and z the targets, all at the size of the part maps, for each image

    .. math::

        \mu_k = \frac{\sum_u m_k z}{\sum_u m_k + \epsilon}, \qquad
        L = \frac{\sum_k \sum_u f\, m_k \left| z - \mu_k \right|^2}{\sum_u f + \epsilon}.

    Targets of a smaller (h, w) stand for their bilinear upsampling (``align_corners=True``), several of them count as
    stacked along the channels. The square is expanded, so that only sums of m_k, m_k z and |z|^2 remain, and none of
    them needs the upsampled targets (see :mod:`partlib.moments`): time and memory do not grow with channels times
    pixels. The identity is exact, both epsilons and a soft foreground included.
    """
    maps = [targets] if isinstance(targets, Tensor) else list(targets)
    variation = torch.stack([_variation(part_maps, z, foreground, eps) for z in maps]).sum(dim=0)  # (B,)
    per_image = variation / (foreground.sum(dim=(1, 2, 3)) + eps)  # (B,); 0 for an image without foreground
    return per_image if reduction == "none" else per_image.mean()


def _variation(part_maps: Tensor, z: Tensor, foreground: Tensor, eps: float) -> Tensor:
    """sum_k sum_u f m_k |x - mu_k|^2 with x the upsampled z, (B,).

    Expanded: A - 2 sum_k mu_k . W1_k + sum_k |mu_k|^2 W0_k with A = sum_ku w_k |x|^2, W1_k = sum_u w_k x,
    W0_k = sum_u w_k and w_k = f m_k. The large terms cancel, which costs digits unless x is centered. Of the means,
    mu_k = S1_k / (S0_k + eps), centering by c makes (S1_k - eps c) / (S0_k + eps), exactly.
    """
    num_parts = part_maps.shape[1]
    weighted = part_maps * foreground  # (B, K, H, W)
    weights = torch.cat([part_maps, weighted], dim=1)  # (B, 2K, H, W): for S and for W
    s0, w0 = weights.sum(dim=(2, 3)).split(num_parts, dim=1)  # (B, K) each
    total_weight = weighted.sum(dim=1)  # (B, H, W)
    center = _foreground_mean(z, foreground)  # (B, C)
    z = z - center[:, :, None, None]
    s1, w1 = first_moments(weights, z).split(num_parts, dim=1)  # (B, K, C) each
    mu = (s1 - eps * center[:, None]) / (s0 + eps)[..., None]  # (B, K, C)
    a = (total_weight * upsampled_square_norm(z, part_maps.shape[-2:])).sum(dim=(1, 2))  # (B,)
    return a - 2 * (mu * w1).sum(dim=(1, 2)) + ((mu**2).sum(dim=2) * w0).sum(dim=1)


@torch.no_grad()
def _foreground_mean(z: Tensor, foreground: Tensor) -> Tensor:
    """Mean of the upsampled z over the foreground, (B, C); 0 where there is none.

    The loss does not depend on the point it is centered at, so this is a constant to the gradient.
    """
    weight = downsample_adjoint(foreground, z.shape[-2:])  # (B, 1, h, w)
    total = weight.sum(dim=(2, 3)).clamp(min=torch.finfo(z.dtype).tiny)  # (B, 1)
    return (weight.flatten(2) @ z.flatten(2).transpose(1, 2))[:, 0] / total


def part_descriptors(part_maps: Tensor, features: Maps, *, eps: float = 1e-7) -> Tensor:
    r"""Mean feature vector of every part (paper section 3.2), with m_k the part maps and z the features

    .. math:: v_k = \frac{\sum_u m_k z}{\sum_u m_k + \epsilon}

    ``part_maps`` are (B, K, H, W), ``features`` (B, C, h, w) or several as in :func:`consistency_loss`; returns
    (B, K, C), C summed over them. The descriptor of an empty part is zero.
    """
    maps = [features] if isinstance(features, Tensor) else list(features)
    mass = part_maps.sum(dim=(2, 3))  # (B, K)
    sums = torch.cat([first_moments(part_maps, z) for z in maps], dim=2)  # (B, K, C)
    return sums / (mass + eps)[..., None]


def contrastive_loss(
    descriptors: Tensor,  # (B, K, C), normalized here; at least two images and two parts
    temperature: float,  # scale of the cosine; the paper's is 0.19
    positives: str | Tensor = "all",  # other images to take from: "all", one drawn by "sample", or (B K,) of them
    generator: torch.Generator | None = None,  # on the CPU, for "sample"
) -> Tensor:
    r"""InfoNCE over part descriptors: find the same part in another image among all other parts (paper eq. 5 and 6).

    For row (b, k) with a positive p, s the cosine over the temperature,

    .. math:: L_{bk} = -\log \frac{e^{s_p}}{e^{s_p} + \sum_n e^{s_n}},

    where n runs over all *other* parts of all images, its own included. Other positives are not in the
    denominator. The mean is taken over the B K rows. The paper draws one positive for every row ("sample"); "all" is
    the average over the B - 1 of them, which is the expectation of that without its noise.
    """
    batch, num_parts, _ = descriptors.shape
    assert min(batch, num_parts) >= 2, "contrast compares parts across images: at least 2 images and 2 parts"
    rows = torch.arange(batch * num_parts, device=descriptors.device)
    image, part = rows // num_parts, rows % num_parts
    same_part = part[:, None] == part  # (BK, BK)
    positive = same_part & (image[:, None] != image)  # (BK, BK)
    if isinstance(positives, Tensor) or positives == "sample":
        drawn = positives if isinstance(positives, Tensor) else draw_positives(batch, num_parts, generator)
        positive = positive & (drawn.to(image.device, non_blocking=True)[:, None] == image)
    unit = F.normalize(descriptors.flatten(0, 1), dim=1)  # (BK, C)
    similarity = unit @ unit.T / temperature  # (BK, BK)
    negative = similarity.masked_fill(same_part, -torch.inf).logsumexp(dim=1, keepdim=True)  # (BK, 1)
    loss = -F.logsigmoid(similarity - negative)  # -log(e^s / (e^s + e^negative)) for every pair
    # Every row has the same number of positives, so the mean over pairs is the mean over rows.
    return (loss * positive).sum() / positive.sum()


def draw_positives(batch: int, num_parts: int, generator: torch.Generator | None = None, first: int = 0) -> Tensor:
    """For every part of every image another image, drawn evenly: (B K,) int64; row b K + k is part k of image b.

    The first ``first`` of the other images are left out.
    """
    image = torch.arange(batch).repeat_interleave(num_parts)  # (BK,)
    drawn = torch.randint(first, batch - 1, (batch * num_parts,), generator=generator)
    return drawn + (drawn >= image)  # the n-th of the other images is image n, or n + 1 from the own image on


def equivariance_loss(
    logits_of_warped: Tensor,  # (B, K, H, W), network(warp(image))
    warped_logits: Tensor,  # (B, K, H, W), warp(network(image)); detached here
    foreground: Tensor,  # (B, 1, H, W) in [0, 1], the warped foreground: 0 where the warp leaves the image
    *,
    reduction: str = "mean",  # over the images, in nats per foreground pixel, or "none" for one value per image, (B,)
    eps: float = 1e-7,
) -> Tensor:
    r"""How far the parts of a warped image are from the warped parts of the image (paper eq. 7).

    With p the warped parts, q the parts of the warped image and f the foreground

    .. math:: L = \frac{\sum_u f \sum_k p_k \log (p_k / q_k)}{\sum_u f + \epsilon}.

    One-sided as in the release: the warped parts are the target and get no gradient.
    """
    target, prediction = warped_logits.detach().log_softmax(dim=1), logits_of_warped.log_softmax(dim=1)
    divergence = (target.exp() * (target - prediction)).sum(dim=1, keepdim=True)  # (B, 1, H, W)
    per_image = (divergence * foreground).sum(dim=(1, 2, 3)) / (foreground.sum(dim=(1, 2, 3)) + eps)  # (B,)
    return per_image if reduction == "none" else per_image.mean()
