"""``python -m benchmarks``: measure, print the rows, draw them, and rewrite the table of the README where asked to."""

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

from benchmarks.bench import CASES, FLOOR, SIZES, from_proc, in_processes, measure, scaling
from partlib.paths import write_atomically

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
COLUMNS = ["what", "plain", "partlib", "times faster", "times less memory", "goal"]
Row = dict[str, Any]


def main(words: list[str] | None = None) -> None:
    known = [*CASES, "scaling"]
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
        row = scaling(a.device, a.size) if name == "scaling" else measured(name, a.size, a.device, a.threads, a.runs)
        rows[f"{name}, {a.size}, {a.device}"] = row | {"on": conditions(a.device, a.threads)}
        text = json.dumps({"rows": rows}, indent=2) + "\n"
        write_atomically(a.out, lambda path, text=text: path.write_text(text, encoding="utf-8"))
    print(table(rows))
    picture(rows, a.out.with_suffix(".png"))
    if a.readme:
        write_table(rows, a.readme)
    print(f"rows and picture are in {a.out} and {a.out.with_suffix('.png')}")


def measured(name: str, size: str, device: str, threads: int, runs: int) -> Row:
    """One row: seconds and megabytes of every variant, and how many times faster and smaller than plain it is."""
    case, free = CASES[name], from_proc("meminfo", "MemAvailable")
    row: Row = {"title": case.title, "setting": str(SIZES[size]), "size": size, "device": device}
    if device == "cpu" and size == "paper" and free is not None and free < case.needs_gb * 1e9:
        return row | {"not measured": f"needs {case.needs_gb:g} GB of memory, {free / 1e9:.0f} GB were free"}
    found = {v: in_processes(measure, (name, v, size, device, threads, runs))[0] for v in case.variants}
    plain, units = found["plain"], {"time": "seconds", "memory": "megabytes"}
    ratios = {
        variant: {kind: plain[key] / one[key] for kind, key in units.items() if key in one}
        for variant, one in found.items()
        if variant not in ("plain", FLOOR)
    }
    return row | {"variants": found, "ratios": ratios, "goals": case.goals if size == "paper" else {}}


def conditions(device: str, threads: int) -> Row:
    """Hardware and versions: what a row depends on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": date.today().isoformat(),
        "processor": f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "threads": threads,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        **{"python": platform.python_version(), "torch": torch.__version__},
    }


def table(rows: dict[str, Row]) -> str:
    """Markdown: the rows, the conditions, the efficiency of several processes."""
    lines = [line for row in rows.values() if "measured" not in row for line in _lines(row)]
    if not any(row["device"] == "cuda" for row in rows.values()):
        lines.append(["all of it on a GPU", "not measured", "not measured", "", "", "step: 5 times faster"])
    settings = {row["setting"] for row in rows.values() if "setting" in row and row["size"] == "paper"}
    on = [row["on"] for row in rows.values()]
    places = {
        f"{o['gpu'] or '{processor}, {threads} threads'.format(**o)}, torch {o['torch']}, Python {o['python']}": 0
        for o in on
    }
    told = "".join(f"Setting: {setting}. " for setting in sorted(settings)) + f"Measured on {'; '.join(places)}."
    parts = [_markdown(lines, COLUMNS), f"Medians; memory is the growth at the peak, in a process of its own. {told}"]
    for row in rows.values():
        if "measured" in row:
            efficiencies = {"measured on this machine": {n: x["efficiency"] for n, x in row["measured"].items()}}
            efficiencies |= {f"simulated, {k}": v for k, v in row["simulated from one process"].items()}
            frame = pd.DataFrame(efficiencies.values()).map(lambda x: "" if pd.isna(x) else f"{x:.0%}")
            frame.insert(0, "", list(efficiencies))
            parts += [f"Efficiency of N processes ({row['title']}):", _markdown(frame.to_numpy(), list(frame))]
    return "\n\n".join(parts)


def _markdown(lines: Any, columns: list[str]) -> str:
    return pd.DataFrame(lines, columns=columns).to_markdown(index=False, disable_numparse=True)


def _lines(row: Row) -> list[list[str]]:
    if "not measured" in row:
        return [[_title(row), f"not measured: {row['not measured']}", "", "", "", ""]]
    plain, lines = row["variants"]["plain"], []
    for name, ratio in row["ratios"].items():
        times = [f"**{number(ratio[kind])}**" if kind in ratio else "" for kind in ("time", "memory")]
        goals = ", ".join(f"{kind} {goal:g}" for kind, goal in row["goals"].items()) if name == "partlib" else ""
        what = _title(row) if name == "partlib" else f"… {name.removeprefix('partlib, ')}"
        lines.append([what, cost(plain), cost(row["variants"][name]), *times, goals])
    if FLOOR in row["variants"]:
        floor = row["variants"][FLOOR]
        times = f"step: {row['variants']['partlib']['seconds'] / floor['seconds']:.2f} times the floor"
        lines.append(["… its networks alone, the floor", "", cost(floor), times, "", "1.3"])
    return lines


def _title(row: Row) -> str:
    return row["title"] + (" (small)" if row["size"] == "small" else "") + (" (GPU)" if row["device"] == "cuda" else "")


def cost(variant: Row) -> str:
    """Time, memory where it was measured, and a remark where there was one run only."""
    seconds = variant["seconds"]
    unit, size = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3)) if seconds >= s), ("µs", 1e-6))
    memory = f", {number(variant['megabytes'])} MB" if "megabytes" in variant else ""
    return f"{number(seconds / size)} {unit}{memory}" + (
        " (1 run)" if len(variant["seconds of every run"]) == 1 else ""
    )


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write_table(rows: dict[str, Row], readme: Path) -> None:
    """Put the table between the two markers of ``readme``."""
    text = readme.read_text(encoding="utf-8")
    if not (text.count(BEGIN) == text.count(END) == 1 and text.index(BEGIN) < text.index(END)):
        raise SystemExit(f"{readme} has no place for the table; expected the lines {BEGIN} and {END}, once each")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    readme.write_text(f"{head}{BEGIN}\n{table(rows)}\n{END}{tail}", encoding="utf-8")


def picture(rows: dict[str, Row], path: Path) -> None:
    """Bars of how many times faster and smaller than the plain formula every case is, logarithmic, with the goals."""
    bars = [(row, name, ratio) for row in rows.values() for name, ratio in row.get("ratios", {}).items()]
    figure, axes = plt.subplots(figsize=(8, 0.7 + 0.62 * len(bars)), layout="constrained")
    for kind, label, offset, color in (("time", "faster", -0.19, "C0"), ("memory", "less memory", 0.19, "C1")):
        found = [(i + offset, ratio[kind]) for i, (_, _, ratio) in enumerate(bars) if kind in ratio]
        drawn = axes.barh([y for y, _ in found], [x - 1 for _, x in found], 0.36, left=1, color=color, label=label)
        axes.bar_label(drawn, [f" {number(x)}" for _, x in found], fontsize=8)
        goals = [
            (row["goals"][kind], i + offset)
            for i, (row, n, _) in enumerate(bars)
            if n == "partlib" and kind in row["goals"]
        ]
        axes.plot([x for x, _ in goals], [y for _, y in goals], "|", color="black", markersize=16, markeredgewidth=2)
    titles = [_title(row) + ("" if n == "partlib" else f", {n.removeprefix('partlib, ')}") for row, n, _ in bars]
    axes.set_yticks(range(len(bars)), ["\n".join(textwrap.wrap(title, 34)) for title in titles])
    axes.set(xscale="log", xlabel="times better than the formula written out (black tick: goal)")
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
