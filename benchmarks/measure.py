"""Time and memory of functions.

Time is taken side by side: all variants in turn, round after round, so that whatever else the machine does meets them
all. Memory is taken in a process of its own per variant, where nothing else has been allocated before.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from partlib.errors import PartlibError
from partlib.memory import return_freed

Variants = Mapping[str, Callable[[], object]]
SHORT = 0.05  # seconds; what is faster is called several times per measurement
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class BenchError(PartlibError, RuntimeError):
    """A measurement failed."""


@dataclass(frozen=True)
class Taken:
    """Seconds per call: on the clock, and of this process on all cores. The second does not see other programs."""

    seconds: float
    cpu_seconds: float


def time_of(function: Callable[[], object], device: torch.device, calls: int = 1) -> Taken:
    """What a call takes, the device's work included."""
    _synchronise(device)
    start, cpu_start = time.perf_counter(), time.process_time()
    for _ in range(calls):
        function()
    _synchronise(device)
    return Taken((time.perf_counter() - start) / calls, (time.process_time() - cpu_start) / calls)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def side_by_side(variants: Variants, runs: int, device: torch.device) -> dict[str, list[Taken]]:
    """Times of every variant, ``runs`` of each in turn, after one call that is not counted."""
    functions = dict(variants)
    calls = {name: max(1, int(SHORT / max(time_of(f, device).seconds, 1e-7))) for name, f in functions.items()}
    taken: dict[str, list[Taken]] = {name: [] for name in functions}
    for _ in range(runs):
        for name, function in functions.items():
            taken[name].append(time_of(function, device, calls[name]))
    return taken


def with_peak_memory(function: Callable[[], object], device: torch.device) -> tuple[Taken, int | None]:
    """Time of one call, and by how many bytes memory grew at its peak (None where that cannot be told).

    On a GPU it is the memory of tensors, on Linux the resident memory of this process, elsewhere the growth of its
    largest resident memory so far.
    """
    before = _start_peak(device)
    taken = time_of(function, device)
    after = _read_peak(device)
    return taken, None if before is None or after is None else max(0, after - before)


def _start_peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if CLEAR.exists():
        return_freed()  # or it would be used again, and not show as growth
        CLEAR.write_text("5")  # Linux: forget the peak so far
    return _read_peak(device)


def _read_peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def cpu_seconds() -> tuple[float, float] | None:
    """Seconds that all programs of the machine have computed so far, and that this one and its children have."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return None
    idle = ticks[3] + ticks[4]  # waiting for a disk counts as idle
    own = os.times()
    return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), sum(own[:4])


def available_memory() -> int | None:
    """Bytes that programs can still take, None where the system does not say."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return None


def in_own_process(arguments: Mapping[str, Any], threads: int) -> dict:
    """What ``python -m benchmarks.worker`` reports for these arguments.

    Raises
    ------
    BenchError : it failed; the message ends with what it said.
    """
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(dict(arguments))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        said = (done.stderr.strip() or f"exit status {done.returncode}, killed for want of memory?").splitlines()[-1]
        raise BenchError(f"measuring {arguments} failed: {said}")
    return json.loads(done.stdout.strip().splitlines()[-1])
