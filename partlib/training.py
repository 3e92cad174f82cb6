"""The training loop: the only place that knows data, networks and losses at once."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from partlib import checkpoint
from partlib.config import TrainConfig
from partlib.data import Batch, PartDataset
from partlib.errors import ConfigError, PartlibError
from partlib.evaluation import predict, score
from partlib.features import FeatureBank, FeatureScaling, weigh_levels
from partlib.interrupt import HeldInterrupt
from partlib.live_features import LiveFeatures, seeded_batch
from partlib.metrics import part_share
from partlib.objective import Objective
from partlib.paths import runs_dir
from partlib.segmenter import PartSegmenter
from partlib.sources import dataset_features, pick_device, training_data
from partlib.starts import choose_start, initial_segmenter

REMEDY = "start again in another folder with a lower lr or grad_clip"
DEAD_SHARE = 0.01  # a part that holds less of the foreground than this is called dead


class TrainingError(PartlibError, RuntimeError):
    """Training cannot go on; the last checkpoint is still there."""


@dataclass
class TrainResult:
    """What a run produced.

    Attributes
    ----------
    segmenter : the trained network, in eval mode.
    config : what it was trained with.
    log : one dict per logged step: step, lr, losses and, where evaluated, scores and part shares.
    out : the run's folder, or None where nothing was written.
    """

    segmenter: PartSegmenter
    config: TrainConfig
    log: list[dict] = field(default_factory=list)
    out: Path | None = None


def step_generator(seed: int, step: int) -> torch.Generator:
    """The source of all randomness of one step. It depends on nothing that ran before, so resuming needs no state."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def batch_indices(num_images: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Images of one step: every epoch is a new permutation, incomplete batches are dropped."""
    per_epoch = num_images // batch_size
    epoch, position = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(seed * 7_919 + epoch)
    order = torch.randperm(num_images, generator=generator)
    return order[position * batch_size : (position + 1) * batch_size].tolist()


def build_optimizer(segmenter: PartSegmenter, config: TrainConfig) -> torch.optim.Optimizer:
    """Backbone and decoder in two groups with their own learning rates."""
    groups = [
        {"params": [p for p in segmenter.encoder.parameters() if p.requires_grad], "lr": config.backbone_lr},
        {"params": list(segmenter.decoder.parameters()), "lr": config.lr},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=config.weight_decay)
    return torch.optim.Adam(groups, weight_decay=config.weight_decay)


def set_batchnorm(segmenter: PartSegmenter, mode: str) -> None:
    """Make BatchNorm layers behave as ``TrainConfig.batchnorm`` says. Call after ``segmenter.train()``."""
    for name, module in segmenter.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(mode in ("train", "statistics"))
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(mode in ("affine", "train") or (mode == "statistics" and "downsample" in name))


class Trainer:
    """State of one run, advanced a step at a time.

    Parameters
    ----------
    config : what to train.
    device : "auto", "cpu" or "cuda".
    datasets : (train, val) instead of loading what ``config`` names; val may be None.
    """

    def __init__(
        self,
        config: TrainConfig,
        device: str = "auto",
        datasets: tuple[PartDataset, PartDataset | None] | None = None,
    ) -> None:
        self.config, self.device = config, pick_device(device)
        self.train_set, self.val_set = datasets or (
            training_data(config, augment=True),
            training_data(config, "val"),
        )
        self.objective = Objective(config)
        self.reset(0)
        self.bank, self.scaling = self._features(None if datasets is None else datasets[0])

    def reset(self, start: int) -> None:
        """Go back to step 0, with the initial weights of one start."""
        segmenter = initial_segmenter(self.config, start)
        # channels last: the convolutions of CPUs and GPUs alike are written for it (a third faster here)
        self.segmenter = segmenter.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(self.prepared(), self.config)
        self.step, self.log = 0, []  # type: int, list[dict]

    def _features(self, dataset: PartDataset | None) -> tuple[FeatureBank | LiveFeatures | None, FeatureScaling | None]:
        c = self.config
        if not (c.feature or c.contrastive):
            return None, None
        if not self.train_set.fixed_crop:
            return LiveFeatures(c, self.device), None
        bank = dataset_features(c, "train", self.device, dataset)
        if not c.normalize_features:
            return bank, None
        foregrounds = torch.stack([self.train_set[i].foreground for i in range(len(self.train_set))])  # (N, 1, H, W)
        return bank, FeatureScaling.fit(bank.levels, foregrounds)

    def prepared(self) -> PartSegmenter:
        """The segmenter in training mode, BatchNorm as configured."""
        self.segmenter.train()
        set_batchnorm(self.segmenter, self.config.batchnorm)
        return self.segmenter

    def batch(self, step: int) -> tuple[Batch, list[Tensor]]:
        """The images and features of one step, on the device."""
        indices = batch_indices(len(self.train_set), self.config.batch_size, self.config.seed, step)
        batch = seeded_batch(self.train_set, indices, self.config.seed, step).to(self.device)
        if self.bank is None:
            return batch, []
        if isinstance(self.bank, LiveFeatures):
            features = self.bank.of(batch.images)
        else:
            features = [z.to(self.device) for z in self.bank.batch(indices)]
            features = self.scaling(features) if self.scaling is not None else features
        return batch, weigh_levels(features, self.config.feature_level_weights)

    def advance(self) -> dict[str, Tensor]:
        """One optimisation step; returns the losses before it."""
        rate = (1 - self.step / (self.config.lr_horizon or self.config.steps)) ** self.config.poly_power
        for group, base in zip(self.optimizer.param_groups, (self.config.backbone_lr, self.config.lr), strict=True):
            group["lr"] = base * rate
        batch, features = self.batch(self.step)
        terms = self.objective(self.segmenter, batch, features, step_generator(self.config.seed, self.step))
        self.optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        trained = [p for p in self.segmenter.parameters() if p.requires_grad]
        nn.utils.clip_grad_norm_(trained, self.config.grad_clip)
        self.optimizer.step()
        self.step += 1
        return {name: value.detach() for name, value in terms.items()}

    def evaluate(self) -> dict[str, float]:
        """Part shares, and scores where the validation split has parts: for the eye, never for selection."""
        if self.val_set is None or len(self.val_set) == 0:
            return {}
        labels = predict(self.segmenter, self.val_set)
        self.prepared()
        shares = part_share(labels, self.config.num_parts).tolist()
        dead = [str(k + 1) for k, share in enumerate(shares) if share < DEAD_SHARE]
        if dead:
            warnings.warn(
                f"step {self.step}: part {', '.join(dead)} holds less than {DEAD_SHARE:.0%} of the foreground; "
                "it is dead or dying (raise the feature weight or lower contrastive and equivariance)",
                stacklevel=2,
            )
        values = {f"share_{k + 1}": share for k, share in enumerate(shares)}
        if self.val_set[0].parts is not None:
            values.update({f"val_{name}": value for name, value in score(labels, self.val_set).items()})
        return values

    def state(self) -> dict:
        """Everything needed to go on from here, as plain values and tensors."""
        return {
            "config": self.config.to_dict(),
            "data": self.train_set.fingerprint(),
            "step": self.step,
            "model": self.segmenter.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "log": self.log,
        }

    def save(self, path: Path) -> None:
        """Write :meth:`state`, unless the weights are beyond use: the last good checkpoint is worth more."""
        self.check_weights()
        checkpoint.save_checkpoint(path, self.state())

    def check_weights(self) -> None:
        """Raise TrainingError where a weight is NaN or infinite."""
        if not all(bool(p.isfinite().all()) for p in self.segmenter.parameters()):
            raise TrainingError(f"weights are not finite after step {self.step}; {REMEDY}")

    def restore(self, state: dict, source: Path) -> None:
        """Go on from :meth:`state`; refuses a checkpoint of another configuration or of other images."""
        theirs = TrainConfig.from_dict(state["config"])
        changed = theirs.differences(self.config)
        if changed:
            listed = "; ".join(f"{k} is {there!r} there and {here!r} here" for k, (there, here) in changed.items())
            raise ConfigError(f"{source} was trained with another configuration: {listed}; use another --out")
        check_data(state, self.train_set, source)
        self.segmenter.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.log = state["step"], state["log"]


def train(
    config: TrainConfig,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
    datasets: tuple[PartDataset, PartDataset | None] | None = None,
    on_step: Callable[[Trainer, dict[str, Tensor]], None] | None = None,
) -> TrainResult:
    """Train a part segmenter.

    Parameters
    ----------
    config : what to train.
    out : folder for ``config.json``, ``log.csv``, ``checkpoint.pt`` and ``model.safetensors``; None writes nothing.
    resume : go on from the checkpoint in ``out``, if there is one.
    device : "auto", "cpu" or "cuda".
    progress : show a progress bar with the losses.
    datasets : (train, val) instead of the ones that ``config`` names.
    on_step : called after every step with the trainer and the step's losses; for film strips and experiments.

    Raises
    ------
    TrainingError : a loss is not finite.
    ConfigError : ``out`` holds a run and ``resume`` is off, or holds a run of another configuration.
    """
    folder = None if out is None else Path(out)
    saved = None if folder is None else folder / "checkpoint.pt"
    if saved is not None and saved.exists() and not resume:
        raise ConfigError(f"{folder} holds a run already; pass --resume to go on with it, or another --out")
    trainer = Trainer(config, device, datasets)
    if saved is not None and saved.exists():
        trainer.restore(checkpoint.load_checkpoint(saved), saved)
    elif config.starts > 1:
        trainer.reset(choose_start(config, trainer.advance, trainer.reset, progress))
    if folder is not None:
        checkpoint.write_json(folder / "config.json", config.to_dict())
    with HeldInterrupt() as interrupt:
        for terms in _steps(trainer, progress):
            try:
                if on_step is not None:
                    on_step(trainer, terms)
                interrupt.check()
            except KeyboardInterrupt:
                if saved is not None:
                    trainer.save(saved)
                    print(f"interrupted at step {trainer.step}; go on with --resume --out {folder}")
                raise
            if saved is not None and config.checkpoint_every and trainer.step % config.checkpoint_every == 0:
                trainer.save(saved)
    trainer.check_weights()
    segmenter = trainer.segmenter.eval()
    if folder is not None and saved is not None:
        trainer.save(saved)
        checkpoint.save_model(folder / "model.safetensors", segmenter, config)
        checkpoint.write_log(folder / "log.csv", trainer.log)
    return TrainResult(segmenter, config, trainer.log, folder)


def _steps(trainer: Trainer, progress: bool) -> Iterator[dict[str, Tensor]]:
    """Run the trainer to its end, keeping its log and the progress bar, yielding the losses of every step."""
    config = trainer.config
    bar = tqdm(total=config.steps, initial=trainer.step, desc="training", disable=not progress)
    with bar:
        while trainer.step < config.steps:
            terms = trainer.advance()
            last = trainer.step == config.steps
            logged = config.log_every and (trainer.step % config.log_every == 0 or last)
            evaluated = config.eval_every and (trainer.step % config.eval_every == 0 or last)
            if logged or evaluated:  # reading a loss waits for the device, so only now and then
                entry = {"step": trainer.step, "lr": trainer.optimizer.param_groups[-1]["lr"]}
                entry |= {name: value.item() for name, value in terms.items()}
                check_finite(entry)
                if evaluated:
                    entry |= trainer.evaluate()
                trainer.log.append(entry)
                bar.set_postfix({name: f"{entry[name]:.3f}" for name in terms})
            bar.update()
            yield terms


def check_finite(entry: dict[str, float]) -> None:
    """Raise where a loss is NaN or infinite: no later step can mend it."""
    bad = [name for name, value in entry.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(f"loss {bad[0]} is {entry[bad[0]]} at step {entry['step']}; {REMEDY}")


def check_data(state: dict, dataset: PartDataset, source: Path) -> None:
    """Raise ConfigError where the checkpoint ``state`` was trained on other images than ``dataset``."""
    if state.get("data") != dataset.fingerprint():
        raise ConfigError(
            f"{source} was trained on other images ({state.get('data')} there, {dataset.fingerprint()} here); "
            "use another --out"
        )


def load_or_train(config: TrainConfig, out: str | Path | None = None, **options) -> TrainResult:
    """Train once, load ever after: the run's folder is named after its configuration. Interrupted runs go on.

    ``options`` are those of :func:`train`.
    """
    folder = Path(out) if out is not None else runs_dir() / f"{config.data}-k{config.num_parts}-{config.digest()}"
    if (folder / "model.safetensors").is_file():
        segmenter, stored = checkpoint.load_model(folder)
        if stored.digest() == config.digest():
            saved, log = folder / "checkpoint.pt", []
            if saved.is_file():  # a model alone, as somebody else may have sent it, is enough
                state = checkpoint.load_checkpoint(saved)
                if options.get("datasets"):
                    check_data(state, options["datasets"][0], saved)
                log = state["log"]
            return TrainResult(segmenter.to(pick_device(options.get("device", "auto"))), config, log, folder)
    return train(config, folder, resume=True, **options)
