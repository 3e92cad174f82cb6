"""Freed memory goes back to the system."""

import platform
import sys
from pathlib import Path

import pytest

from partlib.memory import return_freed


def resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not glibc(), reason="only GNU's C library returns memory on request")
def test_freed_blocks_are_returned_and_living_ones_stay():
    blocks = [bytes([i % 251]) * 50_000 for i in range(2000)]  # 100 MB in blocks that are not mapped singly
    kept = blocks[::20]
    del blocks
    before = resident()
    return_freed()
    assert before - resident() > 50_000_000
    assert all(set(block) == {20 * i % 251} for i, block in enumerate(kept))
