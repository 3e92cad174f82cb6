"""The losses against the release's values and gradients, float64 to 1e-10 and float32 to 1e-5."""

import pytest
import torch

from partlib.losses import consistency_loss, contrastive_loss
from partlib.paper.release import masked_consistency
from tests.parity.compare import assert_same

CONSISTENCY = ["consistency_c3_16x16", "consistency_c3_12x20_bg", "consistency_c3_16x12_softfg", "consistency_c8_24x16"]
CONTRASTIVE = ["contrastive_B3_K4_C8_t0.19", "contrastive_B6_K4_C8_t0.07", "contrastive_B6_K4_C64_t0.19"]
PRECISIONS = [pytest.param("f64", 1e-10, id="float64"), pytest.param("f32", 1e-5, id="float32")]


def tensors(stored, precision, *names):
    dtype = {"f64": torch.float64, "f32": torch.float32}[precision]
    return [torch.from_numpy(stored[name]).to(dtype) for name in names]


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("name", CONSISTENCY)
def test_consistency_mean_over_images_is_the_releases(golden, name, precision, tolerance):
    stored = golden(name)
    logits, image, foreground = tensors(stored, precision, "logits", "image", "fg")
    logits.requires_grad_()
    value = consistency_loss(logits.softmax(dim=1) * foreground, image, foreground)
    (gradient,) = torch.autograd.grad(value, logits)
    label = f"consistency, mean {precision}"
    assert_same(
        {
            f"{label}: value": (value, stored[f"value_{precision}"]),
            f"{label}: gradient": (gradient, stored[f"grad_logits_{precision}"]),
        },
        tolerance,
    )


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("name", CONSISTENCY)
def test_consistency_summed_over_images_on_masked_targets_is_the_releases(golden, name, precision, tolerance):
    stored = golden(name)
    logits, image, foreground = tensors(stored, precision, "logits", "image", "fg")
    logits.requires_grad_()
    each = masked_consistency(logits.softmax(dim=1) * foreground, [image], foreground)
    value = each.sum()
    (gradient,) = torch.autograd.grad(value, logits)
    label = f"consistency, sum {precision}"
    assert_same(
        {
            f"{label}: per image": (each, stored[f"persum_each_{precision}"]),
            f"{label}: value": (value, stored[f"persum_value_{precision}"]),
            f"{label}: gradient": (gradient, stored[f"persum_grad_logits_{precision}"]),
        },
        tolerance,
    )


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("name", CONTRASTIVE)
def test_contrast_with_the_stored_draw_is_the_releases(golden, name, precision, tolerance):
    stored = golden(name)
    (descriptors,) = tensors(stored, precision, "feats")
    descriptors.requires_grad_()
    drawn = torch.from_numpy(stored["pos_image"])
    value = contrastive_loss(descriptors, float(stored["temperature"]), positives=drawn)
    (gradient,) = torch.autograd.grad(value, descriptors)
    label = f"contrastive, stored draw {precision}"
    assert_same(
        {
            f"{label}: value": (value, stored[f"value_{precision}"]),
            f"{label}: gradient": (gradient, stored[f"grad_{precision}"]),
        },
        tolerance,
    )


@pytest.mark.parametrize(("precision", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("name", CONTRASTIVE)
def test_contrast_with_all_positives_is_the_mean_over_them(golden, name, precision, tolerance):
    stored = golden(name)
    (descriptors,) = tensors(stored, precision, "feats")
    descriptors.requires_grad_()
    value = contrastive_loss(descriptors, float(stored["temperature"]))
    (gradient,) = torch.autograd.grad(value, descriptors)
    label = f"contrastive, all positives {precision}"
    assert_same(
        {
            f"{label}: value": (value, stored["expected_all_positives_f64"]),
            f"{label}: gradient": (gradient, stored["expected_all_positives_grad_f64"]),
        },
        tolerance,
    )


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_contrast_over_every_draw_the_release_can_make_has_its_expectation(golden, name):
    stored = golden(name)
    (descriptors,) = tensors(stored, "f64", "feats")
    descriptors.requires_grad_()
    batch, num_parts, _ = descriptors.shape
    image = torch.arange(batch).repeat_interleave(num_parts)  # (BK,)
    values = []
    for n in range(batch - 1):
        drawn = torch.full_like(image, n)
        drawn = drawn + (drawn >= image)  # the n-th other image
        values.append(contrastive_loss(descriptors, float(stored["temperature"]), positives=drawn))
    allowed = torch.stack(values[1:]).mean()
    (gradient,) = torch.autograd.grad(allowed, descriptors)
    assert_same(
        {
            "contrastive, each positive f64": (torch.stack(values), stored["row_loss_each_positive_f64"].mean(axis=0)),
            "contrastive, release's draws f64: value": (allowed, stored["expected_allowed_f64"]),
            "contrastive, release's draws f64: gradient": (gradient, stored["expected_allowed_grad_f64"]),
        },
        1e-10,
    )
