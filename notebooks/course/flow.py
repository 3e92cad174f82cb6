"""Pictures of the whole: the data flow of a training step, for the lessons to point at, and the map of the course."""

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

LOSSES = {"feature": "feature\nconsistency", "contrastive": "contrast", "equivariance": "equivariance"}
LOSSES["visual"] = "visual\nconsistency"
COLORS = {"image": "#dbe9f6", "network": "#fde3c8", "maps": "#d9efe3", "loss": "#f3d9e6", "frozen": "#e6e6e6"}
# name -> center x, center y, width, height, text, kind; in units of a tenth of the width
BOXES = {
    "image": (0.65, 2.6, 1.1, 0.9, "image\nand mask", "image"),
    "frozen": (3.1, 4.25, 1.7, 0.62, "frozen ImageNet\nnetwork", "frozen"),
    "features": (6.0, 4.25, 1.3, 0.62, "features of\nthe image", "frozen"),
    "first": (2.25, 3.2, 1.35, 0.62, "view 1\n(other colours)", "image"),
    "second": (2.25, 2.0, 1.35, 0.62, "view 2 (other\ncolours, warped)", "image"),
    "encoder": (3.9, 2.6, 1.15, 1.6, "encoder\n(ImageNet)", "network"),
    "decoder": (5.35, 2.6, 1.0, 1.6, "decoder\n(random)", "network"),
    "maps_first": (6.9, 3.2, 1.25, 0.62, "part maps\nof view 1", "maps"),
    "maps_second": (6.9, 2.0, 1.25, 0.62, "part maps\nof view 2", "maps"),
    "colors": (6.0, 0.75, 1.3, 0.62, "colours (Lab)\nof the image", "frozen"),
    "feature": (8.9, 4.25, 1.6, 0.6, "", "loss"),
    "contrastive": (8.9, 3.3, 1.6, 0.6, "", "loss"),
    "equivariance": (8.9, 2.0, 1.6, 0.6, "", "loss"),
    "visual": (8.9, 0.75, 1.6, 0.6, "", "loss"),
}
ARROWS = [("image", "first"), ("image", "second"), ("first", "encoder"), ("second", "encoder"), ("encoder", "decoder")]
ARROWS += [("decoder", "maps_first"), ("decoder", "maps_second"), ("image", "frozen"), ("frozen", "features")]
ARROWS += [("maps_first", name) for name in LOSSES] + [("maps_second", "equivariance")]
ARROWS += [("features", "feature"), ("features", "contrastive"), ("image", "colors"), ("colors", "visual")]


def step_diagram(lit: str = "") -> Figure:
    """Image -> two views -> encoder -> decoder -> part maps -> four losses; one loss may be ``lit``."""
    figure = Figure(figsize=(9.6, 4.5))
    axes = figure.subplots()
    axes.set(xlim=(0, 9.85), ylim=(0.3, 4.7))
    axes.axis("off")
    for start, end in ARROWS:
        (x0, y0, w0, h0, *_), (x1, y1, w1, *_) = BOXES[start], BOXES[end]
        pale = bool(lit) and end in LOSSES and end != lit
        tail, head, bend = (x0 + w0 / 2, y0), (x1 - w1 / 2, y1), "arc3"
        if start == "image" and end in ("frozen", "colors"):  # around the views
            side = 1 if y1 > y0 else -1
            tail, bend = (x0, y0 + side * h0 / 2), f"angle3,angleA=90,angleB={180 if side > 0 else 0}"
        style = {"arrowstyle": "-|>", "mutation_scale": 11, "color": "#dddddd" if pale else "#777777", "zorder": 1}
        axes.add_patch(FancyArrowPatch(tail, head, connectionstyle=bend, shrinkA=1, shrinkB=1, **style))
    for name, (x, y, width, height, text, kind) in BOXES.items():
        pale = bool(lit) and name in LOSSES and name != lit
        corner, style = (x - width / 2, y - height / 2), "round,pad=0.02,rounding_size=0.08"
        box = FancyBboxPatch(corner, width, height, boxstyle=style, zorder=2)
        box.set(facecolor="white" if pale else COLORS[kind], linewidth=2.2 if name == lit else 1)
        box.set_edgecolor("#D55E00" if name == lit else "#bbbbbb" if pale else "#666666")
        axes.add_patch(box)
        words = LOSSES.get(name, text)
        axes.text(x, y, words, ha="center", va="center", fontsize=9, color="#aaaaaa" if pale else "#222222", zorder=3)
    return figure


# title of a block of lessons, color as in the step's boxes, number of its first lesson, names
BLOCKS = [("the result", "image", 0, ["start here"]), ("the ground", "image", 1, ["data", "scores", "features"])]
BLOCKS += [("the method", "network", 4, ["network\nand step"])]
BLOCKS += [("a loss each", "loss", 5, ["feature\nconsistency", "contrast", "visual\nconsistency", "equi-\nvariance"])]
BLOCKS += [("all together", "network", 9, ["training"])]
BLOCKS += [("is it true?", "maps", 10, ["ablations", "keypoints", "your own"])]
BLOCKS += [("beyond", "frozen", 13, ["after 2021", "engineering"])]


def course_map() -> Figure:
    """The lessons in blocks, in the order in which these build on each other."""
    figure = Figure(figsize=(9.6, 3.9))
    axes = figure.subplots()
    axes.set(xlim=(0, len(BLOCKS)), ylim=(0, 4.7))
    axes.axis("off")
    for column, (title, kind, first, names) in enumerate(BLOCKS):
        middle = column + 0.5
        axes.add_patch(Rectangle((column + 0.03, 0), 0.94, 4.2, facecolor=COLORS[kind], zorder=1))
        axes.text(middle, 4.45, title, ha="center", va="center", fontsize=10, weight="bold")
        if column > 0:
            style = {"arrowstyle": "-|>", "mutation_scale": 14, "color": "#777777", "zorder": 3}
            axes.add_patch(FancyArrowPatch((column - 0.08, 4.45), (column + 0.1, 4.45), **style))
        for row, name in enumerate(names):
            y = 2.1 + (len(names) - 1) / 2 - row
            axes.add_patch(
                Rectangle((middle - 0.42, y - 0.36), 0.84, 0.72, facecolor="white", edgecolor="#666666", zorder=2)
            )
            axes.text(middle - 0.38, y, f"{first + row:02}", va="center", fontsize=9, weight="bold", zorder=3)
            axes.text(middle + 0.1, y, name, ha="center", va="center", fontsize=9, zorder=3)
    return figure
