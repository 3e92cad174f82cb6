"""The rows of the benchmark file as a picture and as the table of the README. Reads only."""

import textwrap
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from partlib.errors import DataError
from partlib.report.plots import INK, PART_COLORS

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
BUSY = "processors busy with other programs"
COLORS = {"time": PART_COLORS[0], "memory": PART_COLORS[1]}
Rows = dict[str, dict[str, Any]]


def table(rows: Rows) -> list[str]:
    """Lines of a Markdown table: one per case, size and device, then the conditions."""
    lines = [
        "| what | plain | partlib | times faster | times less memory | goal |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows.values():
        lines += _lines(row)
    lines += [line for row in rows.values() if (line := _floor(row))]
    if not any(row["device"] == "cuda" for row in rows.values()):
        lines.append("| all of it on a GPU | not measured | not measured | | | step: 5 times faster |")
    lines += ["", _conditions(rows)]
    for row in rows.values():
        lines += ["", *_scaling(row)] if "measured" in row else []
    return lines


def _lines(row: dict[str, Any]) -> list[str]:
    if "measured" in row:
        return []
    title = (
        row["title"] + (" (small)" if row["size"] == "small" else "") + (" (GPU)" if row["device"] == "cuda" else "")
    )
    if "not measured" in row:
        return [f"| {title} | not measured: {row['not measured']} | | | | |"]
    plain, lines = row["variants"]["plain"], []
    for name, ratio in row["ratios"].items():
        what = title if name == "partlib" else f"… {name.removeprefix('partlib, ')}"
        cells = [what, _cost(plain), _cost(row["variants"][name]), f"**{_number(ratio['time'])}**"]
        cells.append(f"**{_number(ratio['memory'])}**" if "memory" in ratio else "")
        goals = row["goals"] if name == "partlib" else {}
        cells.append(", ".join(f"{kind} {goal:g}" for kind, goal in goals.items()))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _floor(row: dict[str, Any]) -> str:
    """Line of the step's own floor: networks forward and backward, no loss, no optimiser."""
    if "times the networks alone" not in row:
        return ""
    alone, multiple = row["variants"]["networks alone"], row["times the networks alone"]["partlib"]
    return f"| … its networks alone, the floor | | {_cost(alone)} | step: {multiple:.2f} times the floor | | 1.3 |"


def _cost(variant: dict[str, Any]) -> str:
    memory = f", {_number(variant['megabytes'])} MB" if "megabytes" in variant else ""
    runs = len(variant["seconds of every run"])
    return duration(variant["seconds"]) + memory + (" (1 run)" if runs == 1 else "")


def _number(value: float) -> str:
    """Three significant digits, thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds with a unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            return f"{_number(seconds / size)} {unit}"
    raise AssertionError


def _conditions(rows: Rows) -> str:
    machines: dict[str, list[float | None]] = {}
    for row in rows.values():
        on = row["on"]
        place = on["gpu"] or f"{on['processor']}, {on['threads']} threads"
        machines.setdefault(f"{place}, torch {on['torch']}, Python {on['python']}", []).append(on[BUSY])
    told = []
    for machine, busy in machines.items():
        known = [processors for processors in busy if processors is not None]
        told.append(machine + (f" ({max(known):.1f} processors or less busy with other programs)" if known else ""))
    settings = {row["setting"] for row in rows.values() if "setting" in row and row["size"] == "paper"}
    return (
        "Medians; memory is the growth at the peak, in a process of its own. "
        + "".join(f"Setting: {setting}. " for setting in sorted(settings))
        + f"Measured on {'; '.join(told)}."
    )


def _scaling(row: dict[str, Any]) -> list[str]:
    simulated = row["simulated from one process"]
    counts = list(next(iter(simulated.values())))
    lines = [
        f"Efficiency of N processes ({row['title']}):",
        "",
        f"| | {' | '.join(counts)} |",
        "|---" * (len(counts) + 1) + "|",
    ]
    found = row["measured"]
    cells = [f"{found[n]['efficiency']:.0%}" if n in found else "" for n in counts]
    lines.append(f"| measured on this machine | {' | '.join(cells)} |")
    for link, values in simulated.items():
        lines.append(f"| simulated, {link} | {' | '.join(f'{value:.0%}' for value in values.values())} |")
    return lines


def write_table(rows: Rows, readme: Path) -> None:
    """Put the table between the two markers of ``readme``.

    Raises
    ------
    DataError : the markers are not there, once each and in order.
    """
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise DataError(f"{readme} has no place for the table; expected the lines {BEGIN} and {END}, once each")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    readme.write_text(f"{head}{BEGIN}\n" + "\n".join(table(rows)) + f"\n{END}{tail}", encoding="utf-8")


def picture(rows: Rows, path: Path) -> None:
    """Bars of how many times faster and smaller than the plain formula every case is, logarithmic, with the goals."""
    measured = [row for row in rows.values() if "ratios" in row]
    bars = [(row, name, ratio) for row in measured for name, ratio in row["ratios"].items()]
    figure, axes = plt.subplots(figsize=(8, 0.7 + 0.62 * len(bars)), layout="constrained")
    for place, (row, name, ratio) in enumerate(bars):
        _bars(axes, place, ratio, row["goals"] if name == "partlib" else {})
    titles = [_title(row, name) for row, name, _ in bars]
    axes.set_yticks(range(len(bars)), titles)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_xlabel("times better than the formula written out (black tick: goal)")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [plt.Rectangle((0, 0), 1, 1, color=color) for color in COLORS.values()]
    axes.legend(handles, ["faster", "less memory"], frameon=False, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _bars(axes: Axes, place: int, ratio: dict[str, float], goals: dict[str, float]) -> None:
    for kind, offset in (("time", -0.19), ("memory", 0.19)):
        if kind not in ratio:
            continue
        axes.barh(place + offset, ratio[kind] - 1, left=1, height=0.36, color=COLORS[kind])
        text = f" {_number(ratio[kind])}"
        axes.text(max(ratio[kind], 1), place + offset, text, va="center", fontsize=8, color=INK)
        if kind in goals:
            axes.plot([goals[kind]] * 2, [place + offset - 0.18, place + offset + 0.18], color="black", linewidth=2)


def _title(row: dict[str, Any], name: str) -> str:
    detail = f", {name.removeprefix('partlib, ')}" if name != "partlib" else ""
    where = ("" if row["size"] == "paper" else " (small)") + (" (GPU)" if row["device"] == "cuda" else "")
    return "\n".join(textwrap.wrap(row["title"] + detail + where, 34))
