"""The tables of docs/REPRODUCTION.md, and the measurements in them; run from the root.

    python figures/reproduction.py cub                                   # CUB-200-2011 from boxes alone
    python -m figures.reproduction measure --data birds --seeds 0 1 2    # into figures/reproduction.json
    python -m figures.reproduction formats --seeds 0 1 2                 # the birds through the paper's file formats
    python -m figures.reproduction table                                 # rewrites docs/REPRODUCTION.md

``cub`` trains and scores every row of its table that is not in figures/results/cub/scores.json yet, and draws pictures.
``measure`` trains each seed and a mask network (or loads them from runs/) and scores by every protocol that the data
set has annotation for, with annotated and with predicted masks.
"""

import argparse
import json
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests write files of birds; from wherever this is run

from figures import cub, cub_pictures, cub_table, masks
from figures.pages import between, replace
from partlib.config import TrainConfig, default_preset
from partlib.data import SPLITS, load_dataset
from partlib.masks import MaskConfig
from partlib.masks.network import foreground
from partlib.paper.protocols import COLUMNS, MASKS, evaluate, on_data, table
from partlib.paths import runs_dir
from partlib.report import tables as report
from partlib.runs import checkpoint, load_or_train
from tests.export import export_cub, export_deepfashion, export_pascal_part

FILE = Path(__file__).parent / "reproduction.json"
PAGE = Path(__file__).parent.parent / "docs" / "REPRODUCTION.md"
RESULTS = PAGE.with_name("RESULTS.md")
FORMATS: dict[str, tuple] = {  # what writes the birds as this data set, and options to read them with
    **{"cub": (export_cub, ()), "deepfashion": (export_deepfashion, ())},
    "pascal-part": (export_pascal_part, ("category=bird", "min_area=0")),
}
SEEDS = {"cub": 5}  # of one command; 3 of the others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("cub", "measure", "formats", "table"))
    parser.add_argument("--root", default="", help="folder of CUB-200-2011, where it is not the default; not stored")
    parser.add_argument("--rows", nargs="+", default=[], help="some rows of the table of CUB")
    parser.add_argument("--preset", default="", help="the one that fits the data set by default")
    parser.add_argument("--num-parts", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", help="default 0 to 4 for cub, else 0 to 2")
    parser.add_argument("--data", default="birds", help="to train on, and to measure; formats writes out the birds")
    given = parser.parse_args()
    given.seeds = given.seeds or list(range(SEEDS.get(given.command, 3)))
    if given.command == "cub":
        began = time.perf_counter()
        cub_pictures.draw(cub.measure(given.root, given.seeds, given.rows))
        print(f"{(time.perf_counter() - began) / 60:.1f} minutes")
    elif given.command != "table":
        preset = given.preset or default_preset(given.data)
        config = TrainConfig.preset(preset, data=given.data, num_parts=given.num_parts)
        store((measure if given.command == "measure" else formats)(config, given.seeds))
    PAGE.write_text(page(json.loads(FILE.read_text(encoding="utf-8"))), encoding="utf-8")
    replace(RESULTS, "cub", cub_table.table(cub.stored()))


def measure(config: TrainConfig, seeds: list[int]) -> list[dict[str, Any]]:
    """Scores by every protocol that fits the data set, one entry each."""
    dataset = load_dataset(config.data, "test", None, config.image_size)
    folder = runs_dir() / f"{config.data}-foreground"
    foreground(MaskConfig(data=config.data, image_size=config.image_size), folder)
    asked = [("pixels", False)] if dataset.part_names else []
    asked += [("cub", False), ("cub", True)] if dataset.keypoint_names else []
    title, masks = f"{config.data} test", folder / "masks"
    return [entry(config, seeds, title, name, masks=masks, reproduce_release=release) for name, release in asked]


def formats(config: TrainConfig, seeds: list[int]) -> list[dict[str, Any]]:
    """The birds written out as the paper's data sets and scored through their loaders, one entry each."""
    drawn = [load_dataset("birds", split, None, config.image_size) for split in SPLITS]
    entries = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (export, options) in FORMATS.items():
            files = (name, str(export(drawn, Path(folder) / name)), options)
            entries.append(entry(config, seeds, f"birds test as {name} files", name, files))
    return entries


def entry(config: TrainConfig, seeds: list[int], title: str, protocol: str, files: tuple = (), **options: Any) -> dict:
    """Scores over the seeds (runs from runs/, or trained now) on the data set trained on, or on ``files``."""
    results = []
    for seed in seeds:
        run = load_or_train(config.replace(seed=seed))
        results.append(evaluate(run.segmenter, on_data(run.config, *files), protocol, **options))
        print(table(results[-1]), flush=True)
    kinds = [f"{kind}_masks" for kind in MASKS if results[0].get(f"{kind}_masks") is not None]
    return {
        "title": f"{title}, K = {config.num_parts}",
        **{key: results[0][key] for key in ("protocol", "reproduce_release", "num_images")},
        "command": "python -m figures.reproduction " + shlex.join(sys.argv[1:]),
        **{"environment": report.environment(), "seeds": seeds},
        "scores": {kind: [result[kind] for result in results] for kind in kinds},
    }


def store(entries: list[dict[str, Any]]) -> None:
    """Put entries into the file, each in the place of the one of the same title and protocol."""
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    merged = {(e["title"], e["protocol"], e["reproduce_release"]): e for e in [*stored["measured"], *entries]}
    checkpoint.write_json(FILE, {**stored, "measured": list(merged.values())})


def measured_table(stored: dict) -> str:
    """What was measured here, as Markdown: mean and standard deviation over seeds, commands and hardware."""
    lines = [f"| data | protocol | masks | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 3) + "|"]
    commands: dict[str, str] = {}
    for one in stored["measured"]:
        protocol = one["protocol"] + (", release's conventions" if one["reproduce_release"] else "")
        for kind, seeds in one["scores"].items():
            iou = f" (IoU {cub_table.spread([s['mean_iou'] for s in seeds])})" if "mean_iou" in seeds[0] else ""
            cells = [cub_table.spread([s.get(column) for s in seeds]) for column in COLUMNS]
            lines.append(f"| {one['title']} | {protocol} | {kind.split('_')[0]}{iou} | {' | '.join(cells)} |")
        machine = one["environment"]
        commands[one["command"]] = f"torch {machine['torch']}, {machine['device']}, {len(one['seeds'])} seeds"
    lines += ["", "Mean ± standard deviation over seeds. Commands and hardware:", ""]
    return "\n".join(lines + [f"* `{command}` ({where})" for command, where in commands.items()])


def page(stored: dict) -> str:
    """The text of docs/REPRODUCTION.md with its measured tables made anew."""
    text, birds = PAGE.read_text(encoding="utf-8"), cub.stored()
    tables = [cub_table.table(birds), cub_table.pixels(birds), cub_table.correlations(birds, cub.stored(cub.TRIALS))]
    text = between(text, "measured", measured_table(stored))
    for name, found in zip(("cub", "cub pixels", "cub keypoints"), tables, strict=True):
        text = between(text, name, found)
    return between(text, "masks", masks.table())


if __name__ == "__main__":
    main()
