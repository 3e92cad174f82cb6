"""Comparing quantities with stored ones, in the order in which they are computed."""

import numpy as np
import torch

DIFFERENCES: dict[str, float] = {}  # quantity -> largest relative difference seen in this run


def relative_difference(ours, stored) -> float:
    """Largest absolute difference over the largest stored magnitude; 0 / 0 counts as 0."""
    ours, stored = (
        np.asarray(x.detach() if isinstance(x, torch.Tensor) else x, dtype=np.float64) for x in (ours, stored)
    )
    assert ours.shape == stored.shape, f"shape {ours.shape}, stored {stored.shape}"
    difference, scale = np.abs(ours - stored).max(), np.abs(stored).max()
    return 0.0 if difference == 0 else float(difference / scale) if scale else float("inf")


def assert_same(quantities: dict[str, tuple], tolerance: float) -> None:
    """Compare ``name -> (ours, stored)`` in the given order; fail at the first that diverges, with its name."""
    for name, (ours, stored) in quantities.items():
        difference = relative_difference(ours, stored)
        DIFFERENCES[name] = max(DIFFERENCES.get(name, 0.0), difference)
        # Written so that nan fails.
        assert difference <= tolerance, (
            f"{name} is the first quantity to diverge: relative difference {difference:.1e}, allowed {tolerance:.0e}"
        )
