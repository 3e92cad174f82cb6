"""A whole training step of the release, from stored network outputs to clipped gradients."""

import pytest
import torch
import torch.nn.functional as F

from partlib import TrainConfig
from partlib.losses import consistency_loss, contrastive_loss, equivariance_loss, part_descriptors
from partlib.paper.release import PaperRecipe, release_config
from partlib.segmenter import resize
from partlib.training import GRAD_CLIP
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


@pytest.mark.parametrize("reproduce_release", [False, True])
def test_the_preset_paper_computes_the_releases_step(golden, reproduce_release):
    """The same step through the recipe's objective; reductions, weights and clipping are its own."""
    stored = {name: torch.from_numpy(value) for name, value in golden("step_b4").items() if value.dtype.kind != "U"}
    config = TrainConfig.preset("paper")
    recipe = PaperRecipe(release_config(config) if reproduce_release else config)
    low1, low2 = (torch.nn.Parameter(stored[f"pred_low_view{view}"].double()) for view in (1, 2))
    drawn, image = stored["rand_idx"], torch.arange(16) // 4
    terms = recipe.objective().terms(
        [resize(low1, SIZE), resize(low2, SIZE)],
        stored["mask"].double(),
        [stored["feat_a"].double(), stored["feat_b"].double()],  # stored with the weights of their layers
        stored["img_rec"].double(),
        stored["grid"].double(),
        recipe.schedule().weights_at(0),
        positives=drawn + (drawn >= image),
    )
    terms["total"].backward()
    norm = torch.nn.utils.clip_grad_norm_([low1, low2], GRAD_CLIP)
    assert_same(
        {
            "preset: feature loss": (terms["feature"], stored["loss_sc"]),
            "preset: visual loss": (terms["visual"], stored["loss_rgb"]),
            "preset: contrastive loss": (terms["contrastive"], stored["loss_contrastive"]),
            "preset: equivariance loss": (terms["equivariance"], stored["loss_eqv"]),
            "preset: total": (terms["total"], stored["weighted_losses_official"].sum()),
            "preset: gradient norm": (norm, stored["grad_norm_before_clip"]),
            "preset: clipped gradient": (low1.grad, stored["grad_low1_after_clip"]),
        },
        TOLERANCE,
    )


def test_equivariance_sends_no_gradient_into_the_first_view(golden):
    stored = golden("step_b4")
    logits1, logits2 = (torch.from_numpy(stored[f"pred_low_view{v}"]).requires_grad_() for v in (1, 2))
    grid = torch.from_numpy(stored["grid"])
    foreground = warp(torch.from_numpy(stored["mask"]), grid)
    up1, up2 = (F.interpolate(x, size=SIZE, mode="bilinear", align_corners=True) for x in (logits1, logits2))
    equivariance_loss(up2, warp(up1, grid), foreground).backward()
    assert logits1.grad is None
    assert logits2.grad.abs().max() > 0
