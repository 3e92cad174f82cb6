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
SHORT = {"starts": 1, "steps": 20}  # how costs grow shows without the rest of the training
# images, title -> preset and what differs from it; the first two are the recipes themselves
CASES: dict[str, tuple[int, str, dict[str, Any]]] = {
    OLD: (800, "cpu", {}),
    NEW: (800, "birds", {}),
    "200 images": (200, "birds", SHORT),
    "3,200 images": (3200, "birds", SHORT),
    "K = 8": (800, "birds", {**SHORT, "num_parts": 8}),
    "K = 16": (800, "birds", {**SHORT, "num_parts": 16}),
    "128 pixels": (800, "birds", {**SHORT, "image_size": 128}),
    "384 pixels": (800, "birds", {**SHORT, "image_size": 384}),
}
# shows in seconds that all of it runs
SMALL = {"image_size": 64, "feature_size": 64, "loss_size": 16, "steps": 4, "trial_steps": 2, "starts": 2}


def recipes(size: str, threads: int) -> Row:
    """Seconds before the first step and from there to a trained network, memory, images per second, of every case."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, (images, preset, changes) in CASES.items():
            few = size == "small"
            number = images // 40 if few else images
            options = {**changes, **SMALL, "batch_size": 4} if few else changes
            place = Path(folder) / f"birds-{number}"
            if not place.is_dir():
                side = max(options.get("image_size", 0), 64 if few else 384)
                in_processes(write_birds, (str(place), number, side))
            arguments = preset, {**options, "data": "folder", "root": str(place)}, f"{folder}/cache-{title}", threads
            found[title] = {"images": number, "whole": "starts" not in changes}
            found[title] |= in_processes(timed, arguments)[0]
    return {"title": "time to a trained network", "size": size, "device": "cpu", "recipes": found}


def write_birds(folder: str, number: int, side: int) -> None:
    os.environ["PARTLIB_CACHE"] = f"{folder}-drawn"
    export_folder(load_dataset("birds", "train", None, side, num_images=number), folder)


def timed(preset: str, options: dict[str, Any], cache: str, threads: int) -> Row:
    """One training run in this process, which should be a new one, and with an empty cache."""
    os.environ |= {"PARTLIB_CACHE": cache, "TQDM_DISABLE": "1"}
    torch.set_num_threads(threads)
    splits = ["val_fraction=0.01", "test_fraction=0.01"]
    config = TrainConfig.preset(preset, **options, data_options=splits, eval_every=0)
    # everything that the cache keeps is made before the first step of a run
    started = time.perf_counter()
    trainer = build_trainers(config.replace(starts=1), "cpu")[0]
    trainer.advance()
    prepared, steps = time.perf_counter(), 10
    # the rate of a step, then a run from the start, as with a full cache
    for _ in range(steps):
        trainer.advance()
    begun = time.perf_counter()
    train(config, device="cpu", progress=False)
    ended = time.perf_counter()
    kept = sum(file.stat().st_size for file in Path(cache).rglob("*") if file.is_file())
    per_second = steps * config.batch_size / (begun - prepared)
    sizes = {"megabytes": peak_memory(torch.device("cpu")) / 1e6, "cache megabytes": kept / 1e6}
    return {"preparation": prepared - started, "training": ended - begun, "images per second": per_second, **sizes}


def table(row: Row) -> str:
    """Markdown, a line per case."""
    frame = pd.DataFrame(
        {
            title: {
                "images": f"{case['images']:,}",
                "before the first step": f"{case['preparation']:.0f} s",
                "training": f"{case['training']:.0f} s" if case["whole"] else "",
                "images per second of a step": f"{case['images per second']:.0f}",
                "peak memory": f"{case['megabytes'] / 1000:.1f} GB" if case["megabytes"] else "",
                "kept on disk": f"{case['cache megabytes'] / 1000:.1f} GB",
            }
            for title, case in row["recipes"].items()
        }
    ).T
    frame.index.name = "birds read from PNG files"
    text = "Time to a trained network, all starts included" + (" (small)" if row["size"] == "small" else "")
    return f"{text}:\n\n{frame.to_markdown(disable_numparse=True)}"
