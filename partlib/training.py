"""The training loop: the only place that knows data, networks and losses at once."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from partlib import distributed
from partlib.config import TrainConfig
from partlib.data import Batch, PartDataset
from partlib.errors import ConfigError, PartlibError
from partlib.evaluation import predict, score
from partlib.execution import Execution, TrainingForward
from partlib.features import FeatureScaling, weigh_levels
from partlib.interrupt import HeldInterrupt
from partlib.loading import FeatureSource, Prefetcher, StepBatches
from partlib.memory import return_freed
from partlib.metrics import part_share
from partlib.objective import Objective, step_generator, visual_weight
from partlib.optimizer import build_optimizer
from partlib.paths import runs_dir
from partlib.runs import checkpoint
from partlib.runs.starts import begin_with_the_best_start, initial_segmenter, warm_up
from partlib.segmenter import PartSegmenter
from partlib.sources import fit_scaling, pick_device, training_data, training_features

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
    execution : number format, compilation, reading ahead.
    """

    def __init__(
        self,
        config: TrainConfig,
        device: str = "auto",
        datasets: tuple[PartDataset, PartDataset | None] | None = None,
        execution: Execution | None = None,
    ) -> None:
        self.config, self.device, self.execution = config, pick_device(device), execution or Execution()
        with distributed.first_here_first():
            self.train_set, self.val_set = datasets or (
                training_data(config, augment=True),
                training_data(config, "val"),
            )
        self.objective = Objective(config)
        segmenter = initial_segmenter(config)
        own_statistics = config.batchnorm in ("train", "statistics")
        if own_statistics and self.device.type == "cuda" and distributed.world_size() > 1:
            distributed.synchronise_batchnorm(segmenter)
        # channels last: the convolutions of CPUs and GPUs alike are written for it (a third faster here)
        self.segmenter = segmenter.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(self.prepared(), config)
        self.forward = TrainingForward(self.segmenter, self.device, self.execution)
        self.step, self.log = 0, []  # type: int, list[dict]
        with distributed.first_here_first():
            self.features, self.scaling = self._features(own=datasets is not None)
        batches = StepBatches(self.train_set, self.features, config)
        self.load = Prefetcher(batches, self.device, self.execution.number_of_workers(self.device))

    def reset(self, start: int, decoder: dict[str, Tensor] | None = None) -> None:
        """Go back to step 0, with the initial weights of one start and its decoder warmed up.

        ``decoder`` : its weights, where :func:`partlib.starts.warm_up` has made them already.
        """
        if decoder is None:
            (decoder,) = warm_up(self, [start])
        # into the same network: a new one would have to be compiled and replicated anew
        self.segmenter.load_state_dict(initial_segmenter(self.config, start).state_dict())
        self.segmenter.decoder.load_state_dict(decoder)
        self.optimizer = build_optimizer(self.prepared(), self.config)
        self.step, self.log = 0, []

    def _features(self, own: bool) -> tuple[FeatureSource | None, FeatureScaling | None]:
        c = self.config
        if not (c.feature or c.contrastive):
            return None, None
        source = training_features(c, self.device, self.train_set, self.execution.feature_cache_gb, own=own)
        return source, fit_scaling(source, self.train_set).to(self.device) if c.normalize_features else None

    def prepared(self) -> PartSegmenter:
        """The segmenter in training mode, BatchNorm as configured."""
        self.segmenter.train()
        set_batchnorm(self.segmenter, self.config.batchnorm)
        return self.segmenter

    def batch(self, step: int) -> tuple[Batch, list[Tensor]]:
        """The images and features of one step, on the device; with several processes, the share of this one."""
        batch, loaded = self.load(step)
        if self.features is None:
            return batch, []
        with self.execution.autocast(self.device):
            features = self.features.maps(loaded, batch.images)
        features = self.scaling(features) if self.scaling is not None else features
        return batch, weigh_levels(features, self.config.feature_level_weights)

    def advance(self) -> dict[str, Tensor]:
        """One optimisation step; returns the losses before it."""
        rate = (1 - self.step / (self.config.lr_horizon or self.config.steps)) ** self.config.poly_power
        for group, base in zip(self.optimizer.param_groups, (self.config.backbone_lr, self.config.lr), strict=True):
            group["lr"] = base * rate
        self.objective.weights["visual"] = visual_weight(self.config, self.step)
        batch, features = self.batch(self.step)
        terms = self.objective(self.forward, batch, features, step_generator(self.config.seed, self.step))
        self.optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        trained = [p for p in self.segmenter.parameters() if p.requires_grad]
        nn.utils.clip_grad_norm_(trained, self.config.grad_clip)
        self.optimizer.step()
        self.step += 1
        return {name: value.detach() for name, value in terms.items()}

    def evaluate(self) -> dict[str, float]:
        """Part shares, and scores where the validation split has parts: for the eye, never for selection."""
        if self.val_set is None or len(self.val_set) == 0 or distributed.rank() > 0:
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
        if distributed.rank() == 0:
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
        for theirs, ours in zip(state["optimizer"]["param_groups"], self.optimizer.param_groups, strict=True):
            theirs["fused"] = ours["fused"]  # that is a matter of this device, not of the one that saved
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
    execution: Execution | None = None,
) -> TrainResult:
    """Train a part segmenter; in several processes at once inside :func:`partlib.distributed.processes`.

    Parameters
    ----------
    config : what to train.
    out : folder for ``config.json``, ``log.csv``, ``checkpoint.pt`` and ``model.safetensors``; None writes nothing.
    resume : go on from the checkpoint in ``out``, if there is one.
    device : "auto", "cpu" or "cuda".
    progress : show a progress bar with the losses.
    datasets : (train, val) instead of the ones that ``config`` names.
    on_step : called after every step with the trainer and the step's losses; for film strips and experiments.
    execution : number format, compilation, reading ahead; None for what suits the device.

    Raises
    ------
    TrainingError : a loss is not finite.
    ConfigError : ``out`` holds a run and ``resume`` is off, or holds a run of another configuration.
    """
    folder = None if out is None else Path(out)
    saved = None if folder is None else folder / "checkpoint.pt"
    state = distributed.from_first(lambda: _saved_state(saved, resume))
    trainer = Trainer(config, device, datasets, execution)
    if state is not None and saved is not None:
        trainer.restore(state, saved)
    elif config.starts > 1:
        begin_with_the_best_start(trainer, progress)
    if folder is not None and distributed.rank() == 0:
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
                    distributed.say(f"interrupted at step {trainer.step}; go on with --resume --out {folder}")
                raise
            if saved is not None and config.checkpoint_every and trainer.step % config.checkpoint_every == 0:
                trainer.save(saved)
                if trainer.log and distributed.rank() == 0:
                    checkpoint.write_log(saved.with_name("log.csv"), trainer.log)  # to be watched while the run goes on
    trainer.check_weights()
    segmenter = trainer.segmenter.eval()
    if folder is not None and saved is not None and distributed.rank() == 0:
        trainer.save(saved)
        checkpoint.save_model(folder / "model.safetensors", segmenter, config)
        checkpoint.write_log(folder / "log.csv", trainer.log)
    return_freed()
    return TrainResult(segmenter, config, trainer.log, folder)


def _saved_state(saved: Path | None, resume: bool) -> dict | None:
    """The checkpoint to go on from, if there is one."""
    if saved is None or not saved.exists():
        return None
    if not resume:
        raise ConfigError(f"{saved.parent} holds a run already; pass --resume to go on with it, or another --out")
    return checkpoint.load_checkpoint(saved)


def _steps(trainer: Trainer, progress: bool) -> Iterator[dict[str, Tensor]]:
    """Run the trainer to its end, keeping its log and the progress bar, yielding the losses of every step."""
    config = trainer.config
    hidden = not progress or distributed.rank() > 0
    bar = tqdm(total=config.steps, initial=trainer.step, desc="training", disable=hidden)
    with bar:
        while trainer.step < config.steps:
            terms = trainer.advance()
            last = trainer.step == config.steps
            logged = config.log_every and (trainer.step % config.log_every == 0 or last)
            evaluated = config.eval_every and (trainer.step % config.eval_every == 0 or last)
            if logged or evaluated:  # reading a loss waits for the device, so only now and then
                entry = {"step": trainer.step, "lr": trainer.optimizer.param_groups[-1]["lr"]}
                values = distributed.mean(torch.stack(list(terms.values()))).tolist()
                entry |= dict(zip(terms, values, strict=True))
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
