"""The table of docs/QUIRKS.md: what the release does differently, what is done here, and what it changes.

python docs/quirks.py          # measures everything (about a minute) and rewrites the table
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import quirk_effects as effects

PAGE = Path(__file__).with_name("QUIRKS.md")
BEGIN, END = "<!-- quirks: begin -->", "<!-- quirks: end -->"


@dataclass(frozen=True)
class Quirk:
    """One row. ``option`` is what switches it here; ``measure`` returns the last column."""

    release: str
    here: str
    option: str
    measure: Callable[[], str]


TRAINING = (
    Quirk(
        "Caffe's ResNet-50 expects blue, green, red; it gets red, green, blue, minus the means of blue, green, red",
        "the scale that the weights were trained with; `caffe` gives it for Caffe's weights",
        "`input_norm=release`",
        effects.input_scale,
    ),
    Quirk(
        "the learning rate falls towards step 100,000 whatever the number of steps",
        "it falls towards the last step; the preset has the release's horizon, it is its schedule",
        "`lr_horizon=100000` (in the preset)",
        effects.learning_rate,
    ),
    Quirk(
        "the random positive is never the first of the other images; 3 images leave no choice, 2 crash",
        "drawn evenly (preset), or all of them averaged (default)",
        "`positives=release`",
        effects.positive_draw,
    ),
    Quirk(
        "the feature loss is summed over the batch, the visual loss averaged",
        "both averaged; the preset sums, as its weights were chosen with that",
        "`feature_reduction=sum` (in the preset)",
        effects.reductions,
    ),
    Quirk(
        "the foreground multiplies features before the loss, which multiplies by it again; two epsilons for one mean",
        "the foreground enters once less; the same two epsilons",
        "`masked_features=True`",
        effects.soft_foreground,
    ),
    Quirk(
        "matrices of the warps are rebuilt at every step from Python lists",
        "computed once per size",
        "none",
        effects.grid_time,
    ),
    Quirk(
        "gradients are clipped to a norm far below theirs: steps are normalised, whatever the scale of the losses",
        "the same",
        "none",
        effects.gradient_norm,
    ),
    Quirk(
        "a restart counts steps from 0; any error of the loader silently starts a new epoch",
        "`--resume` goes on exactly; errors stop the run",
        "none",
        effects.restart,
    ),
    Quirk(
        "the second view is filled with the mean colour where the warp leaves the image",
        "filled with black",
        "`warp_fill=mean`",
        effects.warp_fill,
    ),
    Quirk(
        "both views pass the network one after the other, each with its own batch statistics",
        "they pass together; the preset lets them pass apart, it is its network",
        "`joint_views=False` (in the preset)",
        effects.view_statistics,
    ),
    Quirk(
        "scale and shift of BatchNorm are frozen, except in the four shortcut branches",
        "frozen everywhere by default; the preset does as the release",
        "`batchnorm=statistics` (in the preset)",
        effects.trained_norms,
    ),
    Quirk(
        "colour jitter changes bytes, in random order",
        "floating point, in one order",
        "none",
        effects.jitter_order,
    ),
)
DATA_AND_EVALUATION = (
    Quirk(
        "crops are resized without antialiasing; value 1 of 255 beyond the photograph",
        "antialiased; the edge is repeated",
        "`release_data=True`",
        effects.resizing,
    ),
    Quirk(
        "all official training images are trained on; there is no validation split",
        "a tenth is held out, by name",
        "`release_data=True`",
        effects.held_out,
    ),
    Quirk(
        "keypoints of CUB are mirrored with size - 1 - x, but normalised with 2 x / size - 1",
        "0 is the centre of the first pixel, everywhere",
        "`release_data=True`",
        effects.mirrored_keypoints,
    ),
    Quirk(
        "labels under keypoints are read half a pixel to the upper left",
        "at the pixel of the keypoint",
        "`partlib evaluate --reproduce-release`",
        effects.keypoint_places,
    ),
    Quirk(
        "logits are upsampled with align_corners=True in training and False in the evaluation of CUB",
        "True everywhere",
        "`partlib evaluate --reproduce-release`",
        effects.align_corners,
    ),
    Quirk(
        "part centres start at pixel 0 with a mass of at least 1 in training, at pixel 1 in evaluation",
        "at pixel 0, the exact mass",
        "`partlib evaluate --reproduce-release`",
        effects.centres,
    ),
    Quirk(
        "NMI and ARI are pooled over the data set",
        "the same",
        "none",
        effects.pooling,
    ),
    Quirk(
        "counts of pairs in ARI overflow from about 1e8 pixels",
        "exact integers",
        "none",
        effects.overflow,
    ),
    Quirk(
        "label maps of DeepFashion are resized as if they were grey values",
        "each cell gets the part that covers most of it",
        "`partlib evaluate --reproduce-release`",
        effects.invented_labels,
    ),
    Quirk(
        "colours of DeepFashion are recognised by the sum of red, green and blue",
        "the exact colour, or an error that names file and colour",
        "none",
        effects.colour_sums,
    ),
    Quirk(
        "PASCAL-Part: the part listed first wins; objects without parts stay, all background; whole photographs",
        "the first wins; objects without parts are left out and counted; crops",
        "`release_data=True`",
        effects.painting,
    ),
    Quirk(
        "one seed, no spread; others could not reach the published numbers of CUB by retraining",
        "three seeds or more, with their spread",
        "none",
        effects.seeds,
    ),
)


def table(quirks: tuple[Quirk, ...], first: int) -> list[str]:
    """Lines of a Markdown table; rows are numbered from ``first``."""
    lines = ["| | the release | here | switched on by | measured |", "|---|---|---|---|---|"]
    for number, q in enumerate(quirks, first):
        lines.append(f"| {number} | {q.release} | {q.here} | {q.option} | {q.measure()} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    lines = ["### Training", "", *table(TRAINING, 1), ""]
    lines += ["### Data and evaluation", "", *table(DATA_AND_EVALUATION, 1 + len(TRAINING))]
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    PAGE.write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + tail, encoding="utf-8")


if __name__ == "__main__":
    main()
