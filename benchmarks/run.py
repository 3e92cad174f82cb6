"""Run the cases, one row after the other, and keep the rows in a file."""

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks.cases import CASES, SIZES, Case
from benchmarks.measure import available_memory, cpu_seconds, in_own_process
from partlib.errors import ConfigError
from partlib.runs import checkpoint

FLOOR = "networks alone"
HEAVY_RUNS = 3  # of the library's variants of a heavy case; the plain one is run `plain_runs` times


def all_cases() -> dict[str, Case]:
    """Name -> case, the training step included."""
    from benchmarks.step import STEP

    return {**CASES, "step": STEP}


def bench(
    out: Path,
    names: Sequence[str] = (),
    *,
    size: str = "paper",
    device: str = "cpu",
    runs: int = 5,
    plain_runs: int = 1,
    threads: int = 2,
) -> dict[str, Any]:
    """Measure the named cases (all where none is named) and add their rows to the file ``out``.

    Parameters
    ----------
    out : JSON file; rows of other cases, sizes and devices that are in it stay.
    names : out of :func:`all_cases`, or "scaling".
    size : "paper" or "small".
    device : "cpu" or "cuda".
    runs : measurements per variant; the row holds all and their median.
    plain_runs : the same for the plain variant of the training step, which takes minutes and 17 GB each time.
    threads : CPU threads.

    Returns
    -------
    What the file then holds: {"rows": {...}}.

    Raises
    ------
    ConfigError : an unknown case or size.
    BenchError : a measurement failed.
    """
    cases = all_cases()
    known = [*cases, "scaling"]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"benchmark {unknown[0]!r} is unknown; expected one of {', '.join(known)}")
    if size not in ("paper", "small"):
        raise ConfigError(f"size is {size!r}; expected paper or small")
    stored = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"rows": {}}
    for name in tqdm(names or known, desc="benchmarks"):
        start = time.perf_counter(), cpu_seconds()
        if name == "scaling":
            from benchmarks.scaling import measure_scaling

            row = measure_scaling(device, size)
        else:
            row = measure(name, cases[name], size, device, runs, plain_runs, threads)
        stored["rows"][f"{name}, {size}, {device}"] = {**row, "on": conditions(device, threads, others(*start))}
        checkpoint.write_json(out, stored)
    return stored


def measure(name: str, case: Case, size: str, device: str, runs: int, plain_runs: int, threads: int) -> dict[str, Any]:
    """One row: what was measured of every variant, and the ratios of plain to the library."""
    which = {"case": name, "size": size, "device": device}
    row: dict[str, Any] = {"title": case.title, "setting": str(SIZES[size]), "size": size, "device": device}
    free = available_memory()
    if device == "cpu" and size == "paper" and free is not None and free < case.needs_gb * 1e9:
        return {**row, "not measured": f"needs {case.needs_gb:g} GB of memory, {free / 1e9:.0f} GB were free"}
    variants = list(case.build(SIZES["tiny"], torch.device(device)))
    taken: dict[str, list[dict]] = {variant: [] for variant in variants}
    peaks: dict[str, list[float]] = {variant: [] for variant in variants}
    for variant in variants if case.memory else []:
        repeats = 1 if not case.heavy else plain_runs if variant == "plain" else HEAVY_RUNS
        for _ in range(repeats):
            found = in_own_process({**which, "do": "memory", "variant": variant}, threads)
            if found["bytes"] is not None:
                peaks[variant].append(found["bytes"])
            if case.heavy:
                taken[variant].append(found)
    if not case.heavy:
        taken = in_own_process({**which, "do": "time", "runs": runs}, threads)
    row["variants"] = {variant: _summary(taken[variant], peaks[variant]) for variant in variants}
    row["ratios"] = _ratios(row["variants"])
    if FLOOR in row["variants"]:
        floor = row["variants"][FLOOR]["seconds"]
        row["times the networks alone"] = {
            name: row["variants"][name]["seconds"] / floor for name in row["ratios"] if "cached" not in name
        }
        row["images per second"] = {
            name: SIZES[size].images / found["seconds"] for name, found in row["variants"].items() if name != FLOOR
        }
    row["goals"] = case.goals if size == "paper" else {}
    for more in ("check", "extra"):
        if getattr(case, more) is not None:
            row[more] = in_own_process({**which, "do": more}, threads)
    return row


def _summary(taken: list[dict], peaks: list[float]) -> dict[str, Any]:
    every = [one["seconds"] for one in taken]
    summary: dict[str, Any] = {
        "seconds": statistics.median(every),
        "cpu seconds": statistics.median(one["cpu_seconds"] for one in taken),
        "seconds of every run": every,
    }
    if peaks:
        summary["megabytes"] = statistics.median(peaks) / 1e6
    return summary


def _ratios(variants: dict[str, dict]) -> dict[str, dict[str, float]]:
    """How many times faster and smaller than plain every other variant is."""
    plain, ratios = variants["plain"], {}
    for name, found in variants.items():
        if name not in ("plain", FLOOR):
            ratios[name] = {
                kind: plain[key] / found[key] for kind, key in (("time", "seconds"), ("cpu time", "cpu seconds"))
            }
            if "megabytes" in found and "megabytes" in plain:
                ratios[name]["memory"] = plain["megabytes"] / max(found["megabytes"], 0.1)
    return ratios


def others(start: float, before: tuple[float, float] | None) -> float | None:
    """Processors that other programs kept busy since ``start``, on average; None where the system does not tell."""
    after = cpu_seconds()
    if before is None or after is None:
        return None
    everything, own = after[0] - before[0], after[1] - before[1]
    return round(max(0.0, everything - own) / (time.perf_counter() - start), 2)


def conditions(device: str, threads: int, busy: float | None) -> dict[str, Any]:
    """Hardware, versions, and how busy the machine was: what a row depends on."""
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "threads": threads,
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "processors busy with other programs": busy,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    """Name and number of cores of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
