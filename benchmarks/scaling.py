"""What more processes bring: measured with two on this machine, simulated for more.

The simulation knows one cost of a further process, the exchange of gradients. A ring all-reduce of G bytes among N
processes sends 2 (N - 1) / N G bytes through every link. DistributedDataParallel hides part of that behind the backward
pass; the simulation does not, so it is the worse case. The descriptors that are gathered too are thousandths of G.
"""

import os
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as multiprocessing

from partlib import distributed
from partlib.config import TrainConfig
from partlib.data import birds
from partlib.execution import Execution
from partlib.training import Trainer

LINKS = {"1 Gbit/s Ethernet": 0.125e9, "10 Gbit/s Ethernet": 1.25e9, "PCIe 4 x16": 25e9, "NVLink 4": 450e9}  # bytes/s
PROCESSES = (1, 2, 4, 8, 16)
STEPS = {"paper": 8, "small": 3}


def exchange_seconds(gradient_bytes: float, processes: int, bytes_per_second: float) -> float:
    """Time of a ring all-reduce, latency left out."""
    return 2 * (processes - 1) / processes * gradient_bytes / bytes_per_second


def efficiency(step_seconds: float, gradient_bytes: float, processes: int, bytes_per_second: float) -> float:
    """Images per second and process, against one process alone, every process with a batch of the same size."""
    return step_seconds / (step_seconds + exchange_seconds(gradient_bytes, processes, bytes_per_second))


def measure_scaling(device: str, size: str) -> dict[str, Any]:
    """Steps of one and of two processes (one thread, or one GPU, each), 6 images per process, and the simulation."""
    counts = [n for n in (1, 2) if device == "cpu" or n <= torch.cuda.device_count()]
    found = {n: _run(n, device, STEPS[size]) for n in counts}
    step, gradient = found[1]["seconds"], found[1]["gradient bytes"]
    return {
        "title": "images per second and process, 6 images each, birds at 128 pixels, efficientnet_lite0",
        "size": size,
        "device": device,
        "measured": {
            str(n): {"seconds per step": values["seconds"], "efficiency": step / values["seconds"]}
            for n, values in found.items()
        },
        "gradient megabytes": gradient / 1e6,
        "simulated from one process": {
            name: {str(n): round(efficiency(step, gradient, n, speed), 3) for n in PROCESSES}
            for name, speed in LINKS.items()
        },
    }


def _run(processes: int, device: str, steps: int) -> dict[str, float]:
    with socket.socket() as free, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        multiprocessing.spawn(_process, (processes, port, device, steps, Path(folder)), nprocs=processes)
        return torch.load(Path(folder) / "found.pt", weights_only=True)


def _trainer(processes: int, device: str) -> Trainer:
    config = TrainConfig(batch_size=6 * processes, num_images=24, steps=1000, eval_every=0, log_every=0)
    with distributed.first_here_first():
        dataset = birds.load("train", None, config.image_size, 24)
    return Trainer(config, device, (dataset, None), Execution())


def _process(rank: int, processes: int, port: int, device: str, steps: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PARTLIB_CACHE": str(folder)}
    with distributed.processes(device):
        trainer = _trainer(processes, device)
        trainer.advance()  # the first step is slower
        taken = []
        for _ in range(steps):
            start = time.perf_counter()
            trainer.advance()["total"].item()
            taken.append(time.perf_counter() - start)
        gradient = sum(4 * p.numel() for p in trainer.segmenter.parameters() if p.requires_grad)
        if rank == 0:
            found = {"seconds": statistics.median(taken), "gradient bytes": float(gradient)}
            torch.save(found, folder / "found.pt")
