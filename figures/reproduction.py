"""The tables of docs/REPRODUCTION.md, and the measurements in them.

    python figures/reproduction.py measure --data birds --seeds 0 1 2    # into figures/reproduction.json
    python figures/reproduction.py formats --seeds 0 1 2                 # the birds through the paper's file formats
    python figures/reproduction.py table                                 # rewrites docs/REPRODUCTION.md

``measure`` trains each seed and a foreground network (or loads them from runs/) and scores by every protocol that the
data set has annotation for, with annotated and with predicted masks. The file also holds the numbers of the paper
and of the authors' release, typed in by hand.
"""

import argparse
import json
import shlex
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from partlib.config import TrainConfig
from partlib.data import SPLITS, load_dataset
from partlib.masks.config import MaskConfig
from partlib.masks.network import foreground
from partlib.paper.report import COLUMNS, Source, evaluate, table
from partlib.paths import runs_dir
from partlib.presets import default_preset
from partlib.report import tables as report
from partlib.runs import checkpoint
from partlib.training import load_or_train
from tests.export import export_cub, export_deepfashion, export_pascal_part

FILE = Path(__file__).parent / "reproduction.json"
PAGE = Path(__file__).parent.parent / "docs" / "REPRODUCTION.md"
BEGIN, END = "<!-- {}: begin -->", "<!-- {}: end -->"
KINDS = {"annotated_masks": "annotated masks", "predicted_masks": "predicted masks"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("measure", "formats"):
        command = commands.add_parser(name)
        command.add_argument("--preset", default="", help="the one that fits the data set by default")
        command.add_argument("--num-parts", type=int, default=4)
        command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
        command.add_argument("--data", default="birds", **({} if name == "measure" else {"choices": ["birds"]}))
        command.add_argument("--root", default="", help="left out of the stored command: a place on one machine")
        command.add_argument(
            "--contrastive", type=float, help="weight of the contrastive loss; the preset's by default"
        )
        command.add_argument("--visual", type=float, help="weight of the visual loss; the preset's by default")
        command.add_argument("--steps", type=int, help="training steps; the preset's by default")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command != "table":
        store(measure(arguments) if arguments.command == "measure" else formats(arguments))
    write_page()


def trained(arguments: argparse.Namespace, seed: int):
    """The run of one seed, from runs/ or trained now."""
    changes = {"data": arguments.data, "root": arguments.root, "num_parts": arguments.num_parts, "seed": seed}
    for name in ("contrastive", "visual", "steps"):
        if getattr(arguments, name) is not None:
            changes[name] = getattr(arguments, name)
    return load_or_train(TrainConfig.preset(arguments.preset or default_preset(arguments.data), **changes))


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Scores by every protocol that fits the data set, one entry each."""
    config = trained(arguments, arguments.seeds[0]).config
    masks = runs_dir() / f"{arguments.data}-foreground"
    options = {"data": arguments.data, "root": arguments.root, "image_size": config.image_size}
    foreground(MaskConfig(**options), masks)
    dataset = load_dataset(arguments.data, "test", arguments.root or None, config.image_size)
    asked = [("pixels", False)] if dataset.part_names else []
    asked += [("cub", False), ("cub", True)] if dataset.keypoint_names else []
    entries = []
    for protocol, release in asked:
        results = []
        for seed in arguments.seeds:
            run = trained(arguments, seed)
            source = Source.of(run.config)
            extra = {"masks": masks / "masks", "reproduce_release": release}
            results.append(evaluate(run.segmenter, run.config, source, protocol, **extra))
            print(table(results[-1]), flush=True)
        entries.append(entry(f"{arguments.data} test", protocol, release, results))
    return entries


def formats(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The birds written out as the paper's data sets and scored through their loaders, one entry each."""
    entries = []
    with tempfile.TemporaryDirectory() as folder:
        size = TrainConfig.preset(arguments.preset or default_preset(arguments.data)).image_size
        drawn = [load_dataset("birds", split, None, size) for split in SPLITS]
        roots = {
            "cub": (export_cub(drawn, Path(folder) / "cub"), []),
            "deepfashion": (export_deepfashion(drawn, Path(folder) / "deepfashion"), []),
            "pascal-part": (export_pascal_part(drawn, Path(folder) / "pascal"), ["category=bird", "min_area=0"]),
        }
        for name, (root, options) in roots.items():
            results = []
            for seed in arguments.seeds:
                run = trained(arguments, seed)
                source = Source.of(run.config, name, str(root), options)
                results.append(evaluate(run.segmenter, run.config, source, name))
                print(table(results[-1]), flush=True)
            entries.append(entry(f"birds test as {name} files", name, False, results))
    return entries


def entry(title: str, protocol: str, release: bool, results: list[dict]) -> dict[str, Any]:
    words = sys.argv[1:]
    if "--root" in words:
        place = words.index("--root")
        words = words[:place] + words[place + 2 :]
    return {
        "title": f"{title}, K = {results[0]['num_parts']}",
        "protocol": protocol,
        "reproduce_release": release,
        "command": shlex.join(["python", "figures/reproduction.py", *words]),
        "environment": report.environment(),
        "num_images": results[0]["num_images"],
        "seeds": [result["seed"] for result in results],
        "scores": {kind: [result[kind] for result in results] for kind in KINDS if results[0][kind] is not None},
    }


def store(entries: list[dict[str, Any]]) -> None:
    """Put entries into the file, each in the place of the one of the same title and protocol."""
    stored = json.loads(FILE.read_text(encoding="utf-8"))

    def key(one: dict) -> tuple:
        return one["title"], one["protocol"], one["reproduce_release"]

    merged = {key(one): one for one in [*stored["measured"], *entries]}
    checkpoint.write_json(FILE, {**stored, "measured": list(merged.values())})


def published_tables(stored: dict) -> str:
    """The paper's tables with our rows, as Markdown."""
    lines = []
    for one in stored["published"]:
        titles = [COLUMNS.get(column, column) for column in one["columns"]]
        lines += [f"### {one['title']}", "", f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
        needs: list[str] = []
        for row in one["rows"]:
            cells = [row.get("values", {}).get(column, "—") for column in one["columns"]]
            if "needs" in row:
                needs.append(row["needs"])
                cells = [f"not run: needs ({len(needs)})"] * len(titles)
            lines.append(f"| {row['name']} | {' | '.join(cells)} |")
        lines += ["", *(f"({number}) {text}.  " for number, text in enumerate(needs, 1)), ""]
        if one["commands"]:
            lines += ["To fill in the last row:", "", "```", *one["commands"], "```", ""]
    notes = [f"* *{name}*: {text}." for name, text in stored["sources"].items()]
    return "\n".join([*lines, *notes, "", "—: no number at hand."])


def measured_table(stored: dict) -> str:
    """What was measured here, as Markdown: mean and standard deviation over seeds, commands and hardware."""
    titles = list(COLUMNS.values())
    lines = [f"| data | protocol | masks | {' | '.join(titles)} |", "|---" * (len(titles) + 3) + "|"]
    commands: dict[str, str] = {}
    for one in stored["measured"]:
        protocol = one["protocol"] + (", release's conventions" if one["reproduce_release"] else "")
        for kind, seeds in one["scores"].items():
            iou = f" (IoU {spread([s['mean_iou'] for s in seeds])})" if "mean_iou" in seeds[0] else ""
            cells = [spread([s.get(column) for s in seeds]) for column in COLUMNS]
            lines.append(f"| {one['title']} | {protocol} | {KINDS[kind].split()[0]}{iou} | {' | '.join(cells)} |")
        machine = one["environment"]
        count = len(one["seeds"])
        commands[one["command"]] = f"torch {machine['torch']}, {machine['device']}, {count} seeds"
    lines += ["", "Mean ± standard deviation over seeds. Commands and hardware:", ""]
    return "\n".join([*lines, *(f"* `{command}` ({where})" for command, where in commands.items())])


def spread(values: list) -> str:
    """Mean and standard deviation over the seeds; a dash where the protocol has no such score."""
    if any(value is None for value in values):
        return "—"
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f}" + (f" ± {deviation:.1f}" if deviation else "")


def page() -> str:
    """The text of docs/REPRODUCTION.md with its tables made anew."""
    stored, text = json.loads(FILE.read_text(encoding="utf-8")), PAGE.read_text(encoding="utf-8")
    for name, content in (("published", published_tables(stored)), ("measured", measured_table(stored))):
        head, rest = text.split(BEGIN.format(name))
        _, tail = rest.split(END.format(name))
        text = f"{head}{BEGIN.format(name)}\n{content}\n{END.format(name)}{tail}"
    return text


def write_page() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
