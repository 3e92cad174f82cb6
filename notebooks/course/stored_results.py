"""The results that the repository keeps, read from its copy here or, where there is none, from its page."""

import io
import json
import statistics
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from partlib_course import notebook
from PIL import Image

from partlib.errors import DataError

FOLDER = "figures/results"


def _content(file: str, root: Path | None) -> bytes:
    root = root or notebook.repository_root()
    if root is not None:
        path = root / FOLDER / file
        if not path.is_file():
            raise DataError(f"{path} does not exist; `python figures/results.py run` makes it")
        return path.read_bytes()
    address = f"https://raw.githubusercontent.com/{notebook.REPOSITORY}/{notebook.BRANCH}/{FOLDER}/{file}"
    try:
        with urlopen(address, timeout=30) as answer:
            return answer.read()
    except (URLError, TimeoutError) as error:
        raise DataError(
            f"{address} cannot be read ({error}); go online, or work in a copy of the repository"
        ) from error


def stored_result(name: str, root: Path | None = None) -> dict[str, Any]:
    """Command, environment, configuration and scores of every seed of a run such as "birds-k4".

    Parameters
    ----------
    name : data set and number of parts.
    root : copy of the repository; None looks for the one around the current folder, then at its page.

    Raises
    ------
    DataError : there is no such result.
    """
    return json.loads(_content(f"{name}.json", root))


def stored_picture(name: str, root: Path | None = None) -> Figure:
    """The picture of a run's best or worst seed, such as "birds-k4-best"; see :func:`stored_result`."""
    pixels = np.asarray(Image.open(io.BytesIO(_content(f"{name}.png", root))).convert("RGB"))  # (H, W, 3)
    width = 6.6  # inches: smaller than the file, as a notebook shows several
    figure = plt.figure(figsize=(width, width * pixels.shape[0] / pixels.shape[1]), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(pixels, interpolation="lanczos")
    axes.set_axis_off()
    plt.close(figure)
    return figure


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation over seeds (of the sample: divided by their number less one)."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")


def result_rows(result: dict[str, Any], score: str = "fg_nmi") -> dict[str, tuple[float, float]]:
    """Method -> mean and standard deviation over the seeds of one score, "ours" first, then the best baseline."""
    seeds = list(result["seeds"].values())
    baselines = {name: spread([s["baselines"][name][score] for s in seeds]) for name in seeds[0]["baselines"]}
    ranked = sorted(baselines.items(), key=lambda item: -item[1][0])
    return {"ours": spread([s["ours"][score] for s in seeds]), **dict(ranked)}


def result_table(results: dict[str, dict[str, Any]], methods: int = 3) -> str:
    """Scores of several runs as text: ours and the best ``methods - 1`` baselines, mean and spread over seeds."""
    lines = [f"{'run':10} {'method':28} {'FG-NMI':>13} {'FG-ARI':>13}   smallest part"]
    for name, result in results.items():
        nmi, ari = (result_rows(result, score) for score in ("fg_nmi", "fg_ari"))
        for i, method in enumerate(list(nmi)[:methods]):
            scores = " ".join(f"{row[method][0]:6.1f} ± {row[method][1]:4.1f}" for row in (nmi, ari))
            smallest = min(min(s["part_share"]) for s in result["seeds"].values())
            lines.append(
                f"{name if i == 0 else '':10} {method:28} {scores}   {f'{smallest:.1%}' if i == 0 else ''}".rstrip()
            )
    return "\n".join(lines)
