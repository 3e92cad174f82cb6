"""What each quirk of the release changes: the last column of the table in docs/QUIRKS.md.

    python -m docs.quirks          # from the root: measures everything (half a minute) and rewrites the column

Every row of the table has a function here, in the same order, which measures on small inputs. Logits are those of
EfficientNet-Lite0 with ImageNet weights and a random decoder on drawn birds, so the effects on them are orders of
magnitude, not results. What is "stored" are outputs of the release that the parity tests compare with.
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

from partlib import PartSegmenter, losses, warps
from partlib.augment import ColorJitter
from partlib.data import Sample, birds, collate
from partlib.data.deepfashion import COLORS
from partlib.data.pascal_part import PART_NAMES, paint_parts
from partlib.data.photos import resize_photo, split_of
from partlib.loader import step_generator
from partlib.metrics import PartScores, ari, keypoint_labels
from partlib.paper.protocols import keypoint_labels_release, part_centers_evaluation
from partlib.paper.release_data import normalize_keypoints, resize_bilinear, resize_labels_bilinear
from partlib.segmenter import part_maps, resize
from tests import plain

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "QUIRKS.md"


def golden(name: str) -> dict[str, np.ndarray]:
    """Stored outputs of the release."""
    with np.load(ROOT / "tests" / "golden" / f"{name}.npz") as stored:
        return dict(stored)


def samples(split: str, size: int, count: int) -> list[Sample]:
    """Birds of ``size`` x ``size`` pixels."""
    drawn = birds.load(split, None, size, count)
    return [drawn[i] for i in range(count)]


@cache
def images() -> Tensor:
    """Six birds, (6, 3, 64, 64)."""
    return collate(samples("train", 64, 6)).images


def network(arch: str = "fpn_lite0", weights: str = "") -> PartSegmenter:
    """A network with a random decoder, in training mode with batch statistics."""
    torch.manual_seed(0)
    return PartSegmenter(4, arch, weights, batchnorm="statistics").train()


def percent(ours: Tensor, theirs: Tensor) -> str:
    """Size of the difference relative to what varies in ``theirs``."""
    return f"{100 * float((ours - theirs).norm() / (theirs - theirs.mean()).norm()):.1f} %"


def input_scale() -> str:
    change = percent(network()(images().flip(1)), network()(images()))
    return f"the network sees red and blue exchanged, nothing else; logits change by {change}"


def learning_rate() -> str:
    here, theirs = ((1 - np.arange(60_000) / horizon) ** 0.9 for horizon in (60_000, 100_000))
    return (
        f"after 60,000 steps the rate is {theirs[-1]:.2f} of the first instead of {here[-1]:.2f}, "
        f"its mean {theirs.mean():.2f} instead of {here.mean():.2f}"
    )


def positive_draw() -> str:
    shares = []
    for count, name in ((3, "contrastive_B3_K4_C8_t0.19"), (6, "contrastive_B6_K4_C64_t0.19")):
        stored = golden(name)
        here, theirs = stored["expected_all_positives_f64"], stored["expected_allowed_f64"]
        gradients = [torch.from_numpy(stored[f"expected_{n}_grad_f64"]) for n in ("all_positives", "allowed")]
        shares.append(f"{count} images: {100 * (theirs / here - 1):+.1f} %, gradient {percent(*gradients)}")
    return "expected loss, " + "; ".join(shares)


def reductions() -> str:
    ratios = []
    for count in (6, 24):
        maps, target = torch.rand(count, 4, 16, 16).softmax(1), torch.rand(count, 8, 16, 16)
        each = losses.consistency_loss(maps, target, torch.ones(count, 1, 16, 16), reduction="none")  # (count,)
        ratios.append(f"{float(each.sum() / each.mean()):.0f} at {count} images")
    return "weight of the feature loss beside the visual loss grows by a factor of " + ", ".join(ratios)


def soft_foreground() -> str:
    changes = []
    for name in ("consistency_c3_16x16", "consistency_c3_16x12_softfg"):
        stored = golden(name)
        logits, target, foreground = (torch.from_numpy(stored[k]).double() for k in ("logits", "image", "fg"))
        here = losses.consistency_loss(part_maps(logits, foreground), target, foreground, reduction="none").sum()
        changes.append(100 * float((here - float(stored["persum_value_f64"])).abs() / here))
    stored = golden("step_b4")
    logits = resize(torch.from_numpy(stored["pred_low_view1"]).double(), (24, 24))
    maps = part_maps(logits, torch.from_numpy(stored["mask"]).double())
    features = torch.from_numpy(stored["feat_a"]).double()
    small, large = (losses.part_descriptors(maps, features, eps=eps) for eps in (1e-7, 1e-5))
    return (
        f"feature loss changes by {changes[1]:.0f} % with a soft foreground, {changes[0]:.1f} % with a binary one; "
        f"1e-5 for 1e-7 changes descriptors by {float((small - large).norm() / small.norm()):.0e}"
    )


def grid_time() -> str:
    points = warps.random_points(6, generator=step_generator(0, 0))

    def milliseconds(rebuild: bool) -> float:
        if rebuild:
            warps._thin_plate_matrix.cache_clear()
        start = time.process_time()
        warps.thin_plate_grid(points, (256, 256))
        return 1000 * (time.process_time() - start)

    rebuilt, kept = (min(milliseconds(rebuild) for _ in range(3)) for rebuild in (True, False))
    return f"none on numbers; six grids of 256 x 256 take {kept:.0f} ms of a CPU core, {rebuilt:.0f} ms with rebuilding"


def gradient_norm() -> str:
    norm = float(golden("step_b4")["grad_norm_before_clip"])
    return f"norm {norm:.0f} with respect to the logits of the stored step: shrunk by a factor of {norm / 5:.0f}"


def restart() -> str:
    return f"restarted at step 50,000 the rate jumps from {(1 - 50_000 / 100_000) ** 0.9:.2f} of the first back to 1.00"


def warp_fill() -> str:
    mean = network().encoder.get_buffer("normalize.mean")  # (1, 3, 1, 1)
    grid = warps.thin_plate_grid(warps.random_points(6, generator=step_generator(0, 0)), (64, 64))
    views = (warps.warp(images() - mean, grid) + mean, warps.warp(images(), grid))
    outside = (warps.warp(torch.ones(6, 1, 64, 64), grid) < 1).float().mean()
    change = percent(*(network()(view) for view in views))
    return f"{100 * outside:.0f} % of a warped view is filled; its logits change by {change}"


def view_statistics() -> str:
    jitter, generator = ColorJitter(), step_generator(0, 0)
    views = [jitter(images(), generator), jitter(images(), generator)]
    grid = warps.thin_plate_grid(warps.random_points(6, generator=generator), (64, 64))
    views[1] = warps.warp(views[1], grid)
    together, apart = network()(torch.cat(views)).chunk(2), [network()(view) for view in views]
    return ", ".join(f"logits of view {i + 1} change by {percent(apart[i], together[i])}" for i in range(2))


def trained_norms() -> str:
    segmenter = network("deeplab_resnet50_paper", "random")
    norms = [module for module in segmenter.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    trained = [module for module in norms if module.weight.requires_grad]
    numbers = sum(p.numel() for module in trained for p in module.parameters())
    return f"{len(trained)} of {len(norms)} layers, {numbers:,} numbers, are trained; the others only normalize"


def jitter_order() -> str:
    image, jitter, differences = images()[:1], ColorJitter(probability=1, gray_probability=0), []
    amounts = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    adjust = (photo.adjust_brightness, photo.adjust_contrast, photo.adjust_saturation, photo.adjust_hue)
    for step in range(20):
        ours = jitter(image, step_generator(1, step))[0] * 255
        draws = torch.rand(6, 1, generator=step_generator(1, step))[:, 0].tolist()
        shifts = [(2 * draw - 1) * amount for draw, amount in zip(draws, amounts, strict=False)]
        theirs = Image.fromarray((image[0].permute(1, 2, 0) * 255).round().byte().numpy())
        for k in torch.randperm(4, generator=step_generator(2, step)).tolist():
            theirs = adjust[k](theirs, shifts[k] + (k < 3))  # three factors around 1, and a shift of the hue
        differences.append(float((photo.pil_to_tensor(theirs).float() - ours).abs().mean()))
    return f"the same factors in another order, on bytes: {statistics.mean(differences):.1f} of 255 on average"


def resizing() -> str:
    large = map(np.asarray, birds.load("val", None, 256, 10).images)
    differences = [np.abs(resize_bilinear(x, 96, 96).astype(int) - resize_photo(x, 96)).mean() for x in large]
    return f"pixels of birds (256 to 96) change by {statistics.mean(differences):.1f} of 255 on average"


def held_out() -> str:
    names = [f"{i:03d}.bird/bird_{i:04d}_{j}" for i in range(200) for j in range(30)]
    share = statistics.mean(split_of(name, 10, 0) == "val" for name in names)
    return f"{100 * share:.1f} % of {len(names):,} names of training images are held out"


def mirrored_keypoints() -> str:
    left, side, size, x = 20, 200, 256, 70.0
    true = (x - left + 0.5) * size / side - 0.5
    plain = normalize_keypoints(np.array([[x, 90.0, 1.0]]), (left, 30, side))[0, 0]
    mirrored = -plain - 2 / size  # size - 1 - x, where x is in pixels
    # where grid_sample with align_corners=False reads
    read, read_mirrored = (((place + 1) * size - 1) / 2 for place in (plain, mirrored))
    return (
        f"a crop of 200 pixels at 256 is read {read - true:+.2f} pixels beside the keypoint, "
        f"mirrored {read_mirrored - (size - 1 - true):+.2f}"
    )


def keypoint_places() -> str:
    drawn = birds.load("val", None, 128, 40)
    parts, keypoints = (torch.from_numpy(np.array(values)) for values in (drawn.parts, drawn.keypoints))
    here, theirs = (read(parts, keypoints)[0] for read in (keypoint_labels, keypoint_labels_release))
    changed = (here != theirs).float().mean()
    return f"{100 * changed:.1f} % of the keypoints of birds (128 pixels, annotated parts) get another label"


def align_corners() -> str:
    drawn = collate(samples("val", 256, 10)[:4])
    segmenter = network("deeplab_resnet50_paper", "random")
    low = segmenter.decoder(segmenter.encoder(drawn.images))  # (4, 4, 33, 33)
    upsample = torch.nn.functional.interpolate
    here, theirs = (upsample(low, (256, 256), mode="bilinear", align_corners=a).argmax(1) for a in (True, False))
    changed = (here != theirs)[drawn.foreground[:, 0] > 0].float().mean()
    return f"{100 * changed:.1f} % of the foreground changes its part (birds, {low.shape[-1]} to 256 cells)"


def centers() -> str:
    stored = golden("centers")
    seen = stored["mask"].any(axis=(1, 2, 3))
    maps = torch.from_numpy((stored["assignment_trainer_align_corners_true"] * stored["mask"])[seen])
    shift = part_centers_evaluation(maps) - plain.part_centers_training(maps)
    return f"{float(shift.mean()):.3f} pixels apart"


def pooling() -> str:
    pooled, single = PartScores(), []
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    for sample in samples("val", 128, 40):
        assert sample.parts is not None
        inside = sample.foreground[0] > 0
        labels = 1 + (x > x[inside].float().mean()).long() + 2 * (y > y[inside].float().mean()).long()  # four quarters
        pooled.update(labels, sample.parts)
        single.append(PartScores().update(labels, sample.parts).compute()["fg_nmi"])
    return (
        f"FG-NMI of the four quarters of birds: {pooled.compute()['fg_nmi']:.1f} pooled, "
        f"{statistics.mean(single):.1f} as a mean over images"
    )


def overflow() -> str:
    g = golden("nmi_ari")
    pairs = [
        f"{float(g[f'big{i}_ari_int64_overflowing']):.2f} for {ari(g[f'big{i}_contingency']):.2f}" for i in range(3)
    ]
    return "ARI of three tables of 3e8 pixels: " + ", ".join(pairs)


def invented_labels() -> str:
    foreign = total = 0
    for labels in np.asarray(birds.load("val", None, 128, 20).parts):  # (128, 128)
        small = resize_labels_bilinear(labels, 64, 64)
        # every pixel of the result is made of 4 x 4 pixels
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(labels, 1, mode="edge"), (4, 4))[::2, ::2]
        present = (windows == small[..., None, None]).any(axis=(2, 3))  # (64, 64)
        foreign, total = foreign + int((~present & (small > 0)).sum()), total + int((small > 0).sum())
    return f"{100 * foreign / total:.1f} % of the foreground of birds (128 to 64 pixels) gets a part that was not there"


def color_sums() -> str:
    one = np.ones(256, np.int64)
    ways = np.convolve(np.convolve(one, one), one)  # number of colors with each sum
    passing = int(ways[np.unique(COLORS.astype(int).sum(axis=1))].sum())
    return f"{passing:,} colors pass for one of the {len(COLORS)}"


def painting() -> str:
    stored = golden("pascal_parts")
    changed = covered = 0
    for image in "abd":
        start = f"in_{image}_0_part"
        parts = [(key.split("_", 4)[4], value > 0) for key, value in stored.items() if key.startswith(start)]
        first, last = (paint_parts(p, PART_NAMES["car"], parts[0][1].shape) for p in (parts, parts[::-1]))
        changed, covered = changed + int((first != last).sum()), covered + int((first > 0).sum())
    empty = sum(not mask.any() for mask in stored["train_masks"])
    return (
        f"order of painting decides {100 * changed / covered:.0f} % of the part pixels of the stored objects; "
        f"{empty} of {len(stored['train_masks'])} training samples is background only"
    )


def seeds() -> str:
    spreads = []
    for path in sorted((ROOT / "figures" / "results").glob("*.json")):
        stored = json.loads(path.read_text())
        values = [run["ours"]["fg_nmi"] for run in stored["seeds"].values()]
        name, parts = stored["config"]["data"], stored["config"]["num_parts"]
        spreads.append(f"{name} with {parts} parts {min(values):.1f} to {max(values):.1f}")
    return f"FG-NMI of our default over {len(values)} seeds: " + ", ".join(spreads)


MEASURES = (
    *(input_scale, learning_rate, positive_draw, reductions, soft_foreground, grid_time),
    *(gradient_norm, restart, warp_fill, view_statistics, trained_norms, jitter_order),
    *(resizing, held_out, mirrored_keypoints, keypoint_places, align_corners, centers),
    *(pooling, overflow, invented_labels, color_sums, painting, seeds),
)
EFFECTS = {number: torch.no_grad()(measure) for number, measure in enumerate(MEASURES, 1)}  # by number of the row


def main() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines(keepends=True)
    for i, line in enumerate(lines):
        number, *cells = line.removeprefix("| ").split(" | ")
        if number.isdigit():
            lines[i] = " | ".join([f"| {number}", *cells[:-1], f"{EFFECTS[int(number)]()} |\n"])
            print(lines[i], end="", flush=True)
    PAGE.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
