"""What each of two processes does for ``test_distributed.py``; results go to a file per rank."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor

from partlib import TrainConfig, distributed, train
from partlib.data import birds
from partlib.errors import ConfigError
from partlib.losses import contrastive_loss
from partlib.objective import Objective
from partlib.paper.release import PaperRecipe
from partlib.runs.build import Recipe
from partlib.runs.starts import race
from partlib.training import Trainer

CONFIG = TrainConfig(
    **{"arch": "fpn_lite0", "views": 0, "image_size": 32, "feature_size": 32, "starts": 1, "batch_size": 4, "steps": 3},
    **{"lr": 0.05, "backbone_lr": 0.01},
    **{"lambda_feature": 5.0, "lambda_visual": 2.0, "lambda_contrastive": 0.5, "lambda_equivariance": 0.5},
    **{"eval_every": 2, "log_every": 1, "checkpoint_every": 1},
)
FROZEN = {"arch": "fpn8_lite0", "views": 2, "loss_size": 16, "refine_steps": 2, "refine_batch_size": 4}
STARTS = {"starts": 3, "trial_steps": 2}


class Sgd(Recipe):
    """Adam divides by gradients near zero, which makes much of rounding; this does not."""

    def optimizer(self, groups):
        return torch.optim.SGD(groups, momentum=0.9)


class Paper(PaperRecipe):
    """Sums instead of means, drawn positives, two passes of the network in a step; each rank has its own BatchNorm."""

    batchnorm = "frozen"


# name -> configuration and recipe of the runs that both compute
RUNS: dict[str, tuple[TrainConfig, type[Recipe]]] = {
    "sgd": (CONFIG, Sgd),
    "adam": (CONFIG.replace(lr=1e-3, backbone_lr=1e-4), Recipe),
    "frozen": (CONFIG.replace(**FROZEN, **STARTS), Sgd),
    "paper": (CONFIG.replace(quirks=("recipe", "masked_features"), lambda_feature=0.1, **STARTS), Paper),
}


def fit(name: str, out: Path | None = None, **options):
    config, recipe = RUNS[name]
    sets = birds.load("train", None, 32, 16), birds.load("val", None, 32, 8)
    return train(config, out, progress=False, device="cpu", datasets=sets, recipe=recipe, **options)


def stop_at_step_2(trainer: Trainer, terms: dict[str, Tensor]) -> None:
    if trainer.step == 2:
        raise KeyboardInterrupt


def descriptors() -> Tensor:
    return torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(3))


def views(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A jittered view and a warp of the images."""
    objective = Objective()
    return objective.jitter(images, generator), objective.random_grid(images, generator)


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
    own = descriptors()[distributed.shard(4)].requires_grad_()  # (2, 3, 5)
    rows = distributed.all_gather(own)
    loss = contrastive_loss(rows, 0.2)
    loss.backward()
    generator = torch.Generator().manual_seed(9)
    jittered, grid = views(torch.full((2, 3, 4, 4), 0.5), generator)
    try:
        distributed.shard(5)
    except ConfigError as error:
        refused = str(error)
    return {
        "rows": rows.detach(),
        "loss": loss.detach(),
        "gradient": own.grad / 2,  # as DistributedDataParallel divides
        **{"jittered": jittered, "grid": grid, "next": torch.rand(1, generator=generator)},
        "mean": distributed.all_reduce_mean(torch.tensor([1.0, 2.0]) * rank),
        "broadcast": distributed.broadcast_object(lambda: {"rank": rank, "tensor": torch.ones(2)}),
        # alone, rank 0 would take start 0 and rank 1 start 2
        "start": _start(([1.0, 2.0, 9.0], [9.0, 2.0, 1.0])[rank]),
        "refused": refused,
    }


def _start(losses: list[float]) -> int:
    """The start that is chosen where every step of start n has the loss n of this process."""
    trainers: Any = [SimpleNamespace(advance=lambda x=x: {"total": torch.tensor(x)}) for x in losses]
    return trainers.index(race(trainers, CONFIG.replace(**STARTS), progress=False)[0])


def _runs(folder: Path, rank: int) -> dict:
    def result(run) -> dict:
        return {"weights": run.segmenter.state_dict(), "log": run.log}

    # a folder of its own for each rank, as on two machines: what rank 1 leaves there would be seen
    out = folder / f"rank-{rank}"
    found = {name: result(fit(name, out / name if name == "sgd" else None)) for name in RUNS}
    found["from one process"] = result(fit("sgd", folder / "from-one" if rank == 0 else out / "no", resume=True))
    try:
        fit("sgd", out / "stopped", on_step=stop_at_step_2)
    except KeyboardInterrupt:
        found["stopped"] = True
    return found
