"""Time to a trained network, from images on disk: the recipe beside the one before it, and how both costs grow."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.bench import in_processes, peak_memory
from partlib.config import TrainConfig
from partlib.data import load_dataset
from partlib.runs import train
from partlib.runs.build import build_trainers
from tests.export import export_folder

Row = dict[str, Any]
OLD, NEW = "encoder trained from the start (preset cpu)", "encoder frozen (preset birds)"
# images, title -> preset and what differs from it; the first two are the recipes themselves
CASES: dict[str, tuple[int, str, dict[str, Any]]] = {
    OLD: (800, "cpu", {}),
    NEW: (800, "birds", {}),
    "200 images": (200, "birds", {}),
    "3,200 images": (3200, "birds", {}),
    "K = 8": (800, "birds", {"num_parts": 8}),
    "K = 16": (800, "birds", {"num_parts": 16}),
    "128 pixels": (800, "birds", {"image_size": 128}),
    "384 pixels": (800, "birds", {"image_size": 384}),
}
# shows in seconds that all of it runs
SMALL = {"image_size": 64, "feature_size": 64, "loss_size": 16, "steps": 4, "trial_steps": 2, "starts": 2}


def recipes(size: str, threads: int) -> Row:
    """Seconds with empty and with full caches, peak memory and images per second of a step, of every case."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, (images, preset, changes) in CASES.items():
            few = size == "small"
            number = images // 40 if few else images
            options = {**changes, **SMALL, "batch_size": 4} if few else changes
            place, cache = Path(folder) / f"birds-{number}", Path(folder) / "cache"
            if not place.is_dir():
                side = max(options.get("image_size", 0), 64 if few else 384)
                in_processes(write_birds, (str(place), number, side))
            arguments = preset, {**options, "data": "folder", "root": str(place)}, f"{cache}-{title}", threads
            empty, full = (in_processes(timed, arguments)[0] for _ in range(2))
            found[title] = {"images": number, "empty": empty, "full": full}
    return {"title": "time to a trained network", "size": size, "device": "cpu", "recipes": found}


def write_birds(folder: str, number: int, side: int) -> None:
    os.environ["PARTLIB_CACHE"] = f"{folder}-drawn"
    export_folder(load_dataset("birds", "train", None, side, num_images=number), folder)


def timed(preset: str, options: dict[str, Any], cache: str, threads: int) -> Row:
    """One training run in this process, which should be a new one."""
    os.environ |= {"PARTLIB_CACHE": cache, "TQDM_DISABLE": "1"}
    torch.set_num_threads(threads)
    splits = ["val_fraction=0.01", "test_fraction=0.01"]
    config = TrainConfig.preset(preset, **options, data_options=splits, eval_every=0)
    started = time.perf_counter()
    train(config, device="cpu", progress=False)
    seconds = time.perf_counter() - started
    peak = peak_memory(torch.device("cpu"))
    trainer = build_trainers(config.replace(starts=1, steps=1000), "cpu")[0]
    trainer.advance()
    begun, steps = time.perf_counter(), 10
    for _ in range(steps):
        trainer.advance()
    per_second = steps * config.batch_size / (time.perf_counter() - begun)
    kept = sum(file.stat().st_size for file in Path(cache).rglob("*") if file.is_file())
    return {"seconds": seconds, "images per second": per_second, "megabytes": peak / 1e6, "cache megabytes": kept / 1e6}


def table(row: Row) -> str:
    """Markdown, a line per case."""
    frame = pd.DataFrame(
        {
            title: {
                "images": f"{case['images']:,}",
                "caches empty": f"{case['empty']['seconds']:.0f} s",
                "caches full": f"{case['full']['seconds']:.0f} s",
                "images per second of a step": f"{case['full']['images per second']:.0f}",
                "peak memory": f"{peak / 1000:.1f} GB" if (peak := case["empty"]["megabytes"]) else "",
                "kept on disk": f"{case['empty']['cache megabytes'] / 1000:.1f} GB",
            }
            for title, case in row["recipes"].items()
        }
    ).T
    frame.index.name = "birds read from PNG files"
    text = "Time to a trained network, all starts included" + (" (small)" if row["size"] == "small" else "")
    return f"{text}:\n\n{frame.to_markdown(disable_numparse=True)}"
