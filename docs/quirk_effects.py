"""What each quirk of the release changes, measured on small inputs: every function returns a line for the table.

Logits are those of EfficientNet-Lite0 with ImageNet weights and a random decoder on drawn birds, so the effects on them
are orders of magnitude, not results.
What is "stored" are outputs of the release that the parity tests compare with.
"""

import json
import statistics
import time
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as photo

from partlib import PartSegmenter, TrainConfig, losses, warps
from partlib.augment import ColorJitter
from partlib.config import RELEASE
from partlib.data import Batch, birds, collate
from partlib.data.deepfashion import COLORS
from partlib.data.pascal_files import PART_NAMES, paint_parts
from partlib.data.prepare import resize_photo, split_of
from partlib.keypoints import keypoint_labels, part_centers
from partlib.metrics import PartScores, ari
from partlib.objective import Objective, step_generator
from partlib.paper import cub_crop
from partlib.paper.release_resize import resize_bilinear, resize_labels_bilinear
from partlib.segmenter import part_maps, resize
from partlib.training import set_batchnorm

ROOT = Path(__file__).resolve().parent.parent
PAPER, COURSE = TrainConfig.preset("paper", pretrained=False), TrainConfig()


def golden(name: str) -> dict[str, np.ndarray]:
    """Stored outputs of the release."""
    with np.load(ROOT / "tests" / "golden" / f"{name}.npz") as stored:
        return dict(stored)


@cache
def batch() -> Batch:
    """Six birds of 64 x 64 pixels."""
    drawn = birds.load("train", None, 64, 6)
    return collate([drawn[i] for i in range(6)])


def network(**changes) -> PartSegmenter:
    """The paper's network, random weights, in training mode."""
    torch.manual_seed(0)
    segmenter = PartSegmenter.from_config(PAPER.replace(**changes)).train()
    set_batchnorm(segmenter, "statistics")
    return segmenter


def course_network() -> PartSegmenter:
    """EfficientNet-Lite0 with its ImageNet weights and a random decoder, in training mode with batch statistics."""
    torch.manual_seed(0)
    segmenter = PartSegmenter(4).train()
    set_batchnorm(segmenter, "statistics")
    return segmenter


def percent(ours: Tensor, theirs: Tensor) -> str:
    """Size of the difference relative to what varies in ``theirs``."""
    return f"{100 * float((ours - theirs).norm() / (theirs - theirs.mean()).norm()):.1f} %"


@torch.no_grad()
def input_scale() -> str:
    swapped = batch().images.flip(1)
    normalize = {name: network(input_norm=name).encoder.normalize for name in ("release", "caffe")}
    torch.testing.assert_close(normalize["release"](batch().images), normalize["caffe"](swapped))
    change = percent(course_network()(swapped), course_network()(batch().images))
    return f"the network sees red and blue exchanged, nothing else; logits change by {change}"


def learning_rate() -> str:
    steps = np.arange(60_000)
    rates = {horizon: (1 - steps / horizon) ** 0.9 for horizon in (60_000, RELEASE["lr_horizon"])}
    here, theirs = rates[60_000], rates[RELEASE["lr_horizon"]]
    return (
        f"after 60,000 steps the rate is {theirs[-1]:.2f} of the first instead of {here[-1]:.2f}, "
        f"its mean {theirs.mean():.2f} instead of {here.mean():.2f}"
    )


def positive_draw() -> str:
    shares = []
    for images in (3, 6):
        stored = golden({3: "contrastive_B3_K4_C8_t0.19", 6: "contrastive_B6_K4_C64_t0.19"}[images])
        here, theirs = stored["expected_all_positives_f64"], stored["expected_allowed_f64"]
        gradients = [torch.from_numpy(stored[f"expected_{n}_grad_f64"]) for n in ("all_positives", "allowed")]
        shares.append(f"{images} images: {100 * (theirs / here - 1):+.1f} %, gradient {percent(*gradients)}")
    return "expected loss, " + "; ".join(shares)


def reductions() -> str:
    maps = torch.rand(24, 4, 16, 16).softmax(1)
    foreground, target = torch.ones(24, 1, 16, 16), torch.rand(24, 8, 16, 16)
    ratios = []
    for images in (6, 24):
        pick = slice(images)
        summed, mean = (
            losses.consistency_loss(maps[pick], target[pick], foreground[pick], reduction=r) for r in ("sum", "mean")
        )
        ratios.append(f"{float(summed / mean):.0f} at {images} images")
    return "weight of the feature loss beside the visual loss grows by a factor of " + ", ".join(ratios)


def soft_foreground() -> str:
    changes = []
    for name in ("consistency_c3_16x16", "consistency_c3_16x12_softfg"):
        stored = golden(name)
        logits, image, foreground = (torch.from_numpy(stored[k]).double() for k in ("logits", "image", "fg"))
        maps = part_maps(logits, foreground)
        on, off = (losses.consistency_loss(maps, image, foreground, masked_targets=m) for m in (True, False))
        changes.append(100 * float((on - off).abs() / off))
    stored = golden("step_b4")
    logits = resize(torch.from_numpy(stored["pred_low_view1"]).double(), (24, 24))
    maps = part_maps(logits, torch.from_numpy(stored["mask"]).double())
    features = torch.from_numpy(stored["feat_a"]).double()
    small, large = (losses.part_descriptors(maps, features, eps=eps) for eps in (1e-7, 1e-5))
    difference = float((small - large).norm() / small.norm())
    return (
        f"feature loss changes by {changes[1]:.0f} % with a soft foreground, {changes[0]:.1f} % with a binary one; "
        f"1e-5 for 1e-7 changes descriptors by {difference:.0e}"
    )


def grid_time() -> str:
    points = warps.random_points(6, generator=step_generator(0, 0))

    def milliseconds(rebuild: bool) -> float:
        times = []
        for _ in range(3):
            if rebuild:
                warps._thin_plate_matrix.cache_clear()
            start = time.process_time()
            warps.thin_plate_grid(points, (256, 256))
            times.append(1000 * (time.process_time() - start))
        return min(times)

    warps.thin_plate_grid(points, (256, 256))
    kept, rebuilt = milliseconds(False), milliseconds(True)
    return f"none on numbers; six grids of 256 x 256 take {kept:.0f} ms of a CPU core, {rebuilt:.0f} ms with rebuilding"


def gradient_norm() -> str:
    norm = float(golden("step_b4")["grad_norm_before_clip"])
    return f"norm {norm:.0f} with respect to the logits of the stored step: shrunk by a factor of {norm / 5:.0f}"


def restart() -> str:
    rate = (1 - 50_000 / 100_000) ** 0.9
    return (
        f"restarted at step 50,000 the rate jumps from {rate:.2f} of the first back to {(1 - 0 / 100_000) ** 0.9:.2f}"
    )


@torch.no_grad()
def align_corners() -> str:
    drawn = birds.load("val", None, 256, 10)
    images = torch.stack([drawn[i].image for i in range(4)])  # (4, 3, 256, 256)
    mask = torch.stack([drawn[i].foreground[0] for i in range(4)]) > 0  # (4, 256, 256)
    segmenter = network()
    low = segmenter.decoder(segmenter.encoder(images))  # (4, 4, 33, 33)
    labels = [
        torch.nn.functional.interpolate(low, size=mask.shape[-2:], mode="bilinear", align_corners=a).argmax(1)
        for a in (True, False)
    ]
    changed = (labels[0] != labels[1])[mask].float().mean()
    return f"{100 * changed:.1f} % of the foreground changes its part (birds, {low.shape[-1]} to 256 cells)"


def keypoint_places() -> str:
    drawn = birds.load("val", None, 128, 40)
    samples = [drawn[i] for i in range(len(drawn))]
    parts, keypoints = (torch.stack([getattr(s, field) for s in samples]) for field in ("parts", "keypoints"))
    here, theirs = (keypoint_labels(parts, keypoints, name)[0] for name in ("pixel", "release"))
    changed = (here != theirs).float().mean()
    return f"{100 * changed:.1f} % of the keypoints of birds (128 pixels, annotated parts) get another label"


def centres() -> str:
    stored = golden("centers")
    seen = stored["mask"].any(axis=(1, 2, 3))
    maps = torch.from_numpy((stored["assignment_trainer_align_corners_true"] * stored["mask"])[seen])
    shift = part_centers(maps, "evaluation") - part_centers(maps, "training")
    return f"{float(shift.mean()):.3f} pixels apart"


def pooling() -> str:
    drawn = birds.load("val", None, 128, 40)
    pooled, single = PartScores(), []
    for i in range(len(drawn)):
        sample, (y, x) = drawn[i], torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
        inside = sample.foreground[0] > 0
        middle = x[inside].float().mean(), y[inside].float().mean()
        labels = 1 + (x > middle[0]).long() + 2 * (y > middle[1]).long()  # four quarters of the object
        pooled.update(labels, sample.parts)
        single.append(PartScores().update(labels, sample.parts).compute()["fg_nmi"])
    return (
        f"FG-NMI of the four quarters of birds: {pooled.compute()['fg_nmi']:.1f} pooled, "
        f"{statistics.mean(single):.1f} as a mean over images"
    )


def overflow() -> str:
    stored = golden("nmi_ari")
    pairs = [
        f"{float(stored[f'big{i}_ari_int64_overflowing']):.2f} for {ari(stored[f'big{i}_contingency']):.2f}"
        for i in range(3)
    ]
    return "ARI of three tables of 3e8 pixels: " + ", ".join(pairs)


def invented_labels() -> str:
    drawn = birds.load("val", None, 128, 20)
    foreign = total = 0
    for i in range(len(drawn)):
        labels = drawn[i].parts.numpy().astype(np.uint8)
        small = resize_labels_bilinear(labels, 64, 64)
        padded = np.pad(labels, 1, mode="edge")
        # every pixel of the result is made of 4 x 4 pixels
        windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4))[::2, ::2]  # (64, 64, 4, 4)
        present = (windows == small[..., None, None]).any(axis=(2, 3))
        foreign, total = foreign + int((~present & (small > 0)).sum()), total + int((small > 0).sum())
    return f"{100 * foreign / total:.1f} % of the foreground of birds (128 to 64 pixels) gets a part that was not there"


def colour_sums() -> str:
    sums = {int(s) for s in COLORS.astype(int).sum(axis=1)}
    one = np.ones(256, np.int64)
    ways = np.convolve(np.convolve(one, one), one)  # number of colours with each sum
    passing = sum(int(ways[s]) for s in sums)
    return f"{passing:,} colours pass for one of the {len(COLORS)}"


def painting() -> str:
    stored = golden("pascal_parts")
    changed = covered = 0
    for image in "abd":
        parts = [
            (key.split("_", 4)[4], value > 0) for key, value in stored.items() if key.startswith(f"in_{image}_0_part")
        ]
        first, last = (paint_parts(p, PART_NAMES["car"], parts[0][1].shape) for p in (parts, parts[::-1]))
        changed, covered = changed + int((first != last).sum()), covered + int((first > 0).sum())
    empty = sum(not mask.any() for mask in stored["train_masks"])
    return (
        f"order of painting decides {100 * changed / covered:.0f} % of the part pixels of the stored objects; "
        f"{empty} of {len(stored['train_masks'])} training samples is background only"
    )


def mirrored_keypoints() -> str:
    square, size = (20, 30, 200), 256
    keypoints = np.array([[70.0, 90.0, 1.0]])
    true = cub_crop.crop_keypoints(keypoints, square, size)[0, 0]
    normalised = cub_crop.normalise_keypoints(keypoints, square)

    def read(places: np.ndarray) -> float:
        return ((places[0, 0] + 1) * size - 1) / 2  # where grid_sample with align_corners=False reads

    plain = read(normalised) - true
    mirrored = read(cub_crop.mirror_keypoints(normalised, size, order=(0,))) - (size - 1 - true)
    return f"a crop of 200 pixels at 256 is read {plain:+.2f} pixels beside the keypoint, mirrored {mirrored:+.2f}"


def seeds() -> str:
    spreads = []
    for path in sorted((ROOT / "figures" / "results").glob("*.json")):
        stored = json.loads(path.read_text())
        values = [run["ours"]["fg_nmi"] for run in stored["seeds"].values()]
        name, parts = stored["config"]["data"], stored["config"]["num_parts"]
        spreads.append(f"{name} with {parts} parts {min(values):.1f} to {max(values):.1f}")
    return f"FG-NMI of our default over {len(values)} seeds: " + ", ".join(spreads)


@torch.no_grad()
def warp_fill() -> str:
    outside, logits = 0.0, []
    for fill in ("mean", "black"):
        objective = Objective(COURSE.replace(warp_fill=fill))
        grid = objective.random_grid(batch().images, step_generator(0, 0))
        logits.append(course_network()(objective.warp_view(batch().images, grid)))
        outside = float((warps.warp(torch.ones(6, 1, 64, 64), grid) < 1).float().mean())
    return f"{100 * outside:.0f} % of a warped view is filled; its logits change by {percent(*logits)}"


@torch.no_grad()
def view_statistics() -> str:
    objective = Objective(COURSE)
    images, generator = batch().images, step_generator(0, 0)
    first, second = objective.jitter(images, generator), objective.jitter(images, generator)
    second = objective.warp_view(second, objective.random_grid(images, generator))
    together = course_network()(torch.cat([first, second])).chunk(2)
    apart = [course_network()(view) for view in (first, second)]
    return ", ".join(f"logits of view {i + 1} change by {percent(apart[i], together[i])}" for i in range(2))


def trained_norms() -> str:
    segmenter = network()
    norms = [m for m in segmenter.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    trained = [m for m in norms if m.weight.requires_grad]
    numbers = sum(p.numel() for m in trained for p in m.parameters())
    return f"{len(trained)} of {len(norms)} layers, {numbers:,} numbers, are trained; the others only normalise"


def resizing() -> str:
    drawn = birds.load("val", None, 256, 10)
    differences = []
    for i in range(len(drawn)):
        image = np.asarray(drawn.images[i])
        sharp, smooth = resize_bilinear(image, 96, 96), resize_photo(image, 96)
        differences.append(np.abs(sharp.astype(int) - smooth).mean())
    return f"pixels of birds (256 to 96) change by {statistics.mean(differences):.1f} of 255 on average"


def held_out() -> str:
    names = [f"{i:03d}.bird/bird_{i:04d}_{j}" for i in range(200) for j in range(30)]
    share = statistics.mean(split_of(name, 10, 0) == "val" for name in names)
    return f"{100 * share:.1f} % of {len(names):,} names of training images are held out"


def jitter_order() -> str:
    image = batch().images[:1]  # (1, 3, 64, 64)
    jitter, differences = ColorJitter(probability=1, grey_probability=0), []
    for step in range(20):
        ours = jitter(image, step_generator(1, step))[0] * 255
        draws = torch.rand(6, 1, generator=step_generator(1, step))[:, 0]
        amounts = (jitter.brightness, jitter.contrast, jitter.saturation)
        factors = [1 + (2 * float(draw) - 1) * v for draw, v in zip(draws, amounts, strict=False)]
        hue = (2 * float(draws[3]) - 1) * jitter.hue
        changes = [
            lambda x, f=factors: photo.adjust_brightness(x, f[0]),
            lambda x, f=factors: photo.adjust_contrast(x, f[1]),
            lambda x, f=factors: photo.adjust_saturation(x, f[2]),
            lambda x, h=hue: photo.adjust_hue(x, h),
        ]
        theirs = Image.fromarray((image[0].permute(1, 2, 0) * 255).round().byte().numpy())
        for k in torch.randperm(4, generator=step_generator(2, step)).tolist():
            theirs = changes[k](theirs)
        differences.append(float((photo.pil_to_tensor(theirs).float() - ours).abs().mean()))
    return f"the same factors in another order, on bytes: {statistics.mean(differences):.1f} of 255 on average"
