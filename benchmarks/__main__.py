"""``python -m benchmarks``: measure, print the rows, draw them, and rewrite the table of a page where asked to."""

import argparse
import json
import os
import platform
import textwrap
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from tqdm.auto import tqdm

from benchmarks import recipe
from benchmarks.bench import CASES, FLOOR, SIZES, from_proc, in_processes, measure, scaling
from partlib.paths import write_atomically

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
COLUMNS = ["what", "plain", "partlib", "times faster", "times less memory", "goal"]
Row = dict[str, Any]


def main(words: list[str] | None = None) -> None:
    known = [*CASES, "scaling", "recipe"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"what to measure, of {', '.join(known)} (default everything)")
    parser.add_argument("--size", default="paper", choices=("paper", "small"), help="paper takes minutes and 18 GB")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--runs", type=int, default=5, help="measurements per variant, as far as 60 seconds go")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--out", type=Path, default=Path("figures/benchmarks.json"), help="file to add the rows to")
    parser.add_argument("--readme", type=Path, help="rewrite the table between the markers in this file")
    a = parser.parse_args(words)
    if unknown := [name for name in a.cases if name not in known]:
        parser.error(f"benchmark {unknown[0]!r} is unknown; expected one of {', '.join(known)}")
    rows = json.loads(a.out.read_text(encoding="utf-8"))["rows"] if a.out.exists() else {}
    for name in tqdm(a.cases or known, desc="benchmarks"):
        if name in CASES:
            row = measured(name, a.size, a.device, a.threads, a.runs)
        else:
            row = scaling(a.device, a.size) if name == "scaling" else recipe.recipes(a.size, a.threads)
        rows[f"{name}, {a.size}, {a.device}"] = row | {"on": conditions(a.device, a.threads)}
        write_atomically(a.out, lambda path: path.write_text(json.dumps({"rows": rows}, indent=2) + "\n"))
    print(table(rows))
    picture(rows, a.out.with_suffix(".png"))
    if a.readme:
        write_table(rows, a.readme)
    print(f"rows and picture are in {a.out} and {a.out.with_suffix('.png')}")


def measured(name: str, size: str, device: str, threads: int, runs: int) -> Row:
    """One row: seconds and megabytes of every variant, and how many times faster and smaller than plain it is."""
    case, free = CASES[name], 1024 * int(from_proc("meminfo", "MemAvailable").removesuffix(" kB") or 0)
    row: Row = {"title": case.title, "setting": str(SIZES[size]), "size": size, "device": device}
    if device == "cpu" and size == "paper" and 0 < free < case.needs_gb * 1e9:
        return row | {"not measured": f"needs {case.needs_gb:g} GB of memory, {free / 1e9:.0f} GB were free"}
    found = {v: in_processes(measure, (name, v, size, device, threads, runs))[0] for v in case.variants}
    kinds = {kind: key for kind, key in (("time", "seconds"), ("memory", "megabytes")) if key in found["plain"]}
    compared = [variant for variant in case.variants if variant not in ("plain", FLOOR)]
    ratios = {v: {kind: found["plain"][key] / found[v][key] for kind, key in kinds.items()} for v in compared}
    return row | {"variants": found, "ratios": ratios, "goals": (case.goals or {}) if size == "paper" else {}}


def conditions(device: str, threads: int) -> Row:
    """Hardware and versions: what a row depends on."""
    return {
        "processor": f"{from_proc('cpuinfo', 'model name') or platform.machine()}, {os.cpu_count()} cores",
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        **{"threads": threads, "torch": torch.__version__, "python": platform.python_version()},
        "date": date.today().isoformat(),
    }


def table(rows: dict[str, Row]) -> str:
    """Markdown: the rows, the conditions, the efficiency of several processes."""
    lines = [line for row in rows.values() if not {"measured", "recipes"} & set(row) for line in _lines(row)]
    if not any(row["device"] == "cuda" for row in rows.values()):
        lines.append(["all of it on a GPU", "not measured", "not measured", "", "", "step: 5 times faster"])
    text = pd.DataFrame(lines, columns=COLUMNS).to_markdown(index=False, disable_numparse=True)
    text += "\n\nMedians; memory is the growth at the peak, in a process of its own."
    text += "".join(f" Setting: {s}." for s in sorted({row["setting"] for row in rows.values() if "setting" in row}))
    machine = "{where}, {threads} threads, torch {torch}, Python {python}".format
    machines = {machine(where=row["on"]["gpu"] or row["on"]["processor"], **row["on"]) for row in rows.values()}
    text += f" Measured on {'; '.join(sorted(machines))}."
    for row in rows.values():
        if "measured" in row:
            frame = pd.DataFrame(row["simulated from one process"]).add_prefix("simulated, ")
            frame.insert(0, "measured on this machine", pd.DataFrame(row["measured"]).T["efficiency"])
            numbers = frame.T.to_markdown(floatfmt=".0%").replace("nan%", "    ")  # one empty cell per missing number
            text += f"\n\nEfficiency of N processes ({row['title']}):\n\n{numbers}"
        if "recipes" in row:
            text += f"\n\n{recipe.table(row)}"
    return text


def _lines(row: Row) -> list[list[str]]:
    if "not measured" in row:
        return [[_title(row), f"not measured: {row['not measured']}", "", "", "", ""]]
    variants, lines = row["variants"], []
    for name, ratio in row["ratios"].items():
        times = [f"**{number(ratio[kind])}**" if kind in ratio else "" for kind in ("time", "memory")]
        what, goals = f"… {name.removeprefix('partlib, ')}", ""
        if name == "partlib":
            what, goals = _title(row), ", ".join(f"{kind} {goal:g}" for kind, goal in row["goals"].items())
        lines.append([what, cost(variants["plain"]), cost(variants[name]), *times, goals])
    if FLOOR in variants:
        multiple = variants["partlib"]["seconds"] / variants[FLOOR]["seconds"]
        times = [f"step: {multiple:.2f} times the floor", ""]
        lines.append(["… its networks alone, the floor", "", cost(variants[FLOOR]), *times, "1.3"])
    return lines


def _title(row: Row, variant: str = "partlib") -> str:
    small, gpu = " (small)" if row["size"] == "small" else "", " (GPU)" if row["device"] == "cuda" else ""
    return row["title"] + small + gpu + ("" if variant == "partlib" else f", {variant.removeprefix('partlib, ')}")


def cost(variant: Row) -> str:
    """Time, memory where it was measured, and a remark where there was one run only."""
    seconds = variant["seconds"]
    unit, size = ("s", 1.0) if seconds >= 1 else ("ms", 1e-3) if seconds >= 1e-3 else ("µs", 1e-6)
    memory = f", {number(variant['megabytes'])} MB" if "megabytes" in variant else ""
    return f"{number(seconds / size)} {unit}{memory}" + " (1 run)" * (len(variant["seconds of every run"]) == 1)


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_table(rows: dict[str, Row], readme: Path) -> None:
    """Put the table between the two markers of ``readme``."""
    text = readme.read_text(encoding="utf-8")
    if not (text.count(BEGIN) == text.count(END) == 1 and text.index(BEGIN) < text.index(END)):
        raise SystemExit(f"{readme} has no place for the table; expected the lines {BEGIN} and {END}, once each")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_atomically(readme, lambda path: path.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}", "utf-8"))


def picture(rows: dict[str, Row], path: Path) -> None:
    """Bars of how many times faster and smaller than the plain formula every case is, logarithmic, with the goals."""
    bars = [(row, name, ratio) for row in rows.values() for name, ratio in row.get("ratios", {}).items()]
    if not bars:  # of several processes there is a table only
        return
    titles = [textwrap.fill(_title(row, name), 34) for row, name, _ in bars]
    frame = pd.DataFrame([ratio for *_, ratio in bars], titles, ["time", "memory"], dtype=float)
    axes = (frame - 1).plot.barh(left=1, logx=True, width=0.76, figsize=(8, 0.7 + 0.62 * len(bars)))
    for kind, container in zip(frame, axes.containers, strict=True):
        axes.bar_label(container, ["" if pd.isna(x) else number(x) for x in frame[kind]], fontsize=8, padding=3)
        for (row, name, _), bar in zip(bars, container, strict=True):
            if name == "partlib" and kind in row["goals"]:
                axes.vlines(row["goals"][kind], bar.get_y(), bar.get_y() + bar.get_height(), "black", linewidth=2)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel="times better than the formula written out (black tick: goal)", xmargin=0.1)  # room for labels
    place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 2, "frameon": False}
    axes.legend(axes.containers, ["faster", "less memory"], **place)
    axes.figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(axes.figure)


if __name__ == "__main__":
    main()
