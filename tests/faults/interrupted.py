"""``python -m tests.faults.interrupted WHAT SEED OUT WORDS``: partlib train, stopped by a fault again and again.

WHAT is "kill", SIGKILL after a random time, or "full", a disk that takes no file beyond a random size. Children are
forked from a process that has loaded everything, so that a try takes a second. Prints how often the fault came.
"""

import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

import torch

from partlib.cli import main
from partlib.runs.build import build_trainers

TRIES = {"kill": 20, "full": 6, "none": 0}  # faults
LONGEST = 1.2  # seconds until a kill


def child(words: list[str], most: int | None) -> int:
    """A process that runs the command line; its number."""
    number = os.fork()
    if number:
        return number
    if most is not None:  # every file that grows beyond fails to be written, as on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    os._exit(main(words))


def finished(number: int) -> tuple[int, int]:
    """(signal, exit code) of a child that has ended."""
    status = os.waitpid(number, 0)[1]
    return (os.WTERMSIG(status), 0) if os.WIFSIGNALED(status) else (0, os.WEXITSTATUS(status))


def going_on(words: list[str], out: Path) -> list[str]:
    """The command line that begins a run, or goes on with it."""
    return [*words, *(["--resume"] if (out / "checkpoint.pt").exists() else [])]


def interrupted(what: str, seed: int, out: Path, words: list[str]) -> int:
    """Run and resume until nothing is left to do; how often the fault came."""
    rng, faults = random.Random(seed), 0
    while faults < TRIES[what]:
        full = int(10 ** rng.uniform(3.7, 7.3)) if what == "full" else None
        number = child(going_on(words, out), full)
        if what == "kill":
            time.sleep(rng.uniform(0, LONGEST))
            os.kill(number, signal.SIGKILL)
        ended, code = finished(number)
        if (ended, code) == (0, 0):  # it was done before the fault
            break
        elif ended == signal.SIGKILL or (what == "full" and code == 1):
            faults += 1
        else:
            raise SystemExit(f"signal {ended}, exit code {code}: neither done nor the fault")
    while not (out / "model.safetensors").exists():  # left alone, it ends
        if finished(child(going_on(words, out), None)) != (0, 0):
            raise SystemExit("it does not go on without a fault")
    return faults


if __name__ == "__main__":
    torch.set_num_threads(1)  # threads do not survive a fork
    what, seed, out, *words = sys.argv[1:]
    assert build_trainers  # imported, so that a child need not
    print(interrupted(what, int(seed), Path(out), ["train", "--out", out, *words]))
