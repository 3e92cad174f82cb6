"""What each of two processes does for ``test_distributed.py``; results go to a file per rank."""

import os
import socket
from pathlib import Path

import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor

from partlib import TrainConfig, distributed, train
from partlib.augment import ColorJitter
from partlib.data import birds
from partlib.errors import ConfigError
from partlib.losses import contrastive_loss
from partlib.runs.starts import best_start
from partlib.training import Trainer
from partlib.warps import random_points

CONFIG = TrainConfig(
    image_size=32,
    feature_size=32,
    **{"feature": 5.0, "visual": 2.0, "contrastive": 0.5, "equivariance": 0.5, "positives": "sample"},
    **{"starts": 1, "batch_size": 4, "steps": 3, "optimizer": "sgd", "lr": 0.05, "backbone_lr": 0.01, "grad_clip": 1.0},
    **{"eval_every": 2, "log_every": 1, "checkpoint_every": 0},
)

# sums instead of means, two passes of the network for a step, and trials before it
OTHER = {"feature_reduction": "sum", "joint_views": False, "masked_features": True, "feature": 1.0}
STARTS = {"starts": 3, "start_steps": 2, "warmup_steps": 2}


def datasets():
    return birds.load("train", None, 32, 16), birds.load("val", None, 32, 8)


def fit(config: TrainConfig, out: Path | None = None, **options):
    return train(config, out, progress=False, device="cpu", datasets=datasets(), **options)


def stop_after(step: int):
    def on_step(trainer: Trainer, terms: dict[str, Tensor]) -> None:
        if trainer.step == step:
            raise KeyboardInterrupt

    return on_step


def descriptors() -> Tensor:
    return torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(3))


def run_both(folder: Path) -> list[dict]:
    """Start two processes, wait for them, and return what each found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_process, (port, folder), nprocs=2)
    return [torch.load(folder / f"found-{rank}.pt", weights_only=False) for rank in range(2)]


def _process(rank: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}  # as torchrun does
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.processes("cpu"):
        found = {**_exchange(rank), **_runs(folder, rank)}
        found["size"] = distributed.world_size()
    found["size after"] = distributed.world_size()
    torch.save(found, folder / f"found-{rank}.pt")


def _exchange(rank: int) -> dict:
    own = descriptors()[distributed.share(4)].requires_grad_()  # (2, 3, 5)
    rows = distributed.gather(own)
    loss = contrastive_loss(rows, 0.2)
    loss.backward()
    generator = torch.Generator().manual_seed(9)
    images = torch.full((2, 3, 4, 4), 0.5) * torch.tensor([1, 0.5, 0.2]).view(1, 3, 1, 1)
    try:
        distributed.share(5)
    except ConfigError as error:
        refused = str(error)
    return {
        "rows": rows.detach(),
        "loss": loss.detach(),
        "gradient": own.grad / 2,  # as DistributedDataParallel divides
        "jitter": ColorJitter()(images, generator),
        "points": distributed.own_share(lambda n: random_points(n, generator), 2),
        "next": torch.rand(1, generator=generator),
        "mean": distributed.mean(torch.tensor([1.0, 2.0]) * rank),
        "from first": distributed.from_first(lambda: {"rank": rank, "tensor": torch.ones(2)}),
        "start": _start(
            ([1.0, 2.0, 9.0], [9.0, 2.0, 1.0])[rank]
        ),  # alone, rank 0 would take start 0 and rank 1 start 2
        "refused": refused,
    }


def _start(losses: list[float]) -> int:
    """The start that is chosen where every step of start n has the loss n of this process."""
    tried: list[int] = []
    return best_start(
        CONFIG.replace(**STARTS), lambda: {"total": torch.tensor(losses[tried[-1]])}, tried.append, progress=False
    )


def _runs(folder: Path, rank: int) -> dict:
    def result(run) -> dict:
        return {"weights": run.segmenter.state_dict(), "log": run.log}

    # a folder of its own for each rank, as on two machines: what rank 1 leaves there would be seen
    out = folder / f"rank-{rank}"
    found = {"sgd": result(fit(CONFIG, out / "sgd"))}
    found["adam"] = result(fit(CONFIG.replace(optimizer="adam", lr=1e-3, backbone_lr=1e-4, positives="all")))
    found["other"] = result(fit(CONFIG.replace(**OTHER, **STARTS)))
    found["from one process"] = result(fit(CONFIG, folder / "from-one" if rank == 0 else out / "no", resume=True))
    try:
        fit(CONFIG, out / "stopped", on_step=stop_after(1))
    except KeyboardInterrupt:
        found["stopped"] = True
    return found
