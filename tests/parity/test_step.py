"""A whole training step of the release, from stored network outputs to clipped gradients."""

import pytest
import torch
import torch.nn.functional as F

from partlib.losses import consistency_loss, contrastive_loss, equivariance_loss, part_descriptors
from partlib.warps import warp
from tests.parity.compare import assert_same

TOLERANCE = 1e-5
SIZE = (24, 24)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_training_step_is_the_releases_down_to_the_clipped_gradients(golden, dtype):
    stored = golden("step_b4")

    def tensor(name):
        return torch.from_numpy(stored[name]).to(dtype)

    low1, low2 = (torch.nn.Parameter(tensor(f"pred_low_view{view}")) for view in (1, 2))
    logits1, logits2 = (F.interpolate(x, size=SIZE, mode="bilinear", align_corners=True) for x in (low1, low2))
    foreground, grid, features = tensor("mask"), tensor("grid"), [tensor("feat_a"), tensor("feat_b")]
    maps = logits1.softmax(dim=1) * foreground

    feature = consistency_loss(maps, features, foreground, reduction="none")
    visual = consistency_loss(maps, tensor("img_rec"), foreground)
    descriptors = part_descriptors(maps, features)
    image = torch.arange(16) // 4
    drawn = torch.from_numpy(stored["rand_idx"])  # counted among the other images
    contrastive = contrastive_loss(descriptors, float(stored["temperature"]), positives=drawn + (drawn >= image))
    warped_logits, warped_foreground = warp(logits1, grid), warp(foreground, grid)
    equivariance = equivariance_loss(logits2, warped_logits, warped_foreground, reduction="none")

    losses = {"eqv": equivariance.mean(), "sc": feature.sum(), "rgb": visual, "contrastive": contrastive}
    weights = dict(zip(stored["lambdas_order"].tolist(), stored["lambdas"].tolist(), strict=True))
    weighted = torch.stack([weights[name] * losses[name] for name in losses])
    total = weighted.sum()

    def gradient(value, parameter):
        return torch.autograd.grad(value, parameter, retain_graph=True)[0]

    quantities = {
        "step: feature loss per image": (feature, stored["loss_sc_per_image"]),
        "step: feature loss": (losses["sc"], stored["loss_sc"]),
        "step: visual loss": (visual, stored["loss_rgb"]),
        "step: descriptors": (descriptors, stored["basis"]),
        "step: contrastive loss": (contrastive, stored["loss_contrastive"]),
        "step: warped logits": (warped_logits, stored["pred_org_tps"]),
        "step: warped foreground": (warped_foreground, stored["mask_tps"]),
        "step: equivariance per image": (equivariance, stored["loss_eqv_per_image"]),
        "step: equivariance loss": (losses["eqv"], stored["loss_eqv"]),
        "step: weighted losses": (weighted, stored["weighted_losses_official"]),
        "step: gradient of feature loss": (gradient(losses["sc"], low1), stored["grad_low1_sc"]),
        "step: gradient of visual loss": (gradient(visual, low1), stored["grad_low1_rgb"]),
        "step: gradient of contrastive loss": (gradient(contrastive, low1), stored["grad_low1_contrastive"]),
        "step: gradient of equivariance loss": (gradient(losses["eqv"], low2), stored["grad_low2_eqv"]),
    }
    total.backward()
    quantities["step: gradient of total, view 1"] = (low1.grad.clone(), stored["grad_low1_total"])
    quantities["step: gradient of total, view 2"] = (low2.grad.clone(), stored["grad_low2_total"])
    norm = torch.nn.utils.clip_grad_norm_([low1, low2], float(stored["clip"]))
    quantities["step: gradient norm"] = (norm, stored["grad_norm_before_clip"])
    quantities["step: clipped gradient"] = (low1.grad, stored["grad_low1_after_clip"])
    assert_same(quantities, TOLERANCE)


def test_equivariance_sends_no_gradient_into_the_first_view(golden):
    stored = golden("step_b4")
    logits1, logits2 = (torch.from_numpy(stored[f"pred_low_view{v}"]).requires_grad_() for v in (1, 2))
    grid = torch.from_numpy(stored["grid"])
    foreground = warp(torch.from_numpy(stored["mask"]), grid)
    up1, up2 = (F.interpolate(x, size=SIZE, mode="bilinear", align_corners=True) for x in (logits1, logits2))
    equivariance_loss(up2, warp(up1, grid), foreground).backward()
    assert logits1.grad is None
    assert logits2.grad.abs().max() > 0
