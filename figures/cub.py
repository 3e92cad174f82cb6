"""CUB-200-2011 from boxes alone, by the paper's protocol: the rows of its table, each for several seeds.

``python figures/reproduction.py cub`` runs it all and goes on where an earlier call stopped. The encoder is frozen, so
what it sees of every image is computed once, for all runs.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from partlib import losses
from partlib.config import TrainConfig
from partlib.data.base import Batch, Column, PartDataset, batches
from partlib.features import CachedFeatures, PerceptualFeatures, cached_features, foreground_cells
from partlib.objective import Objective
from partlib.paper.protocols import Forward, KeypointReading, cub_scores, read_keypoints
from partlib.paths import runs_dir
from partlib.report import tables as report
from partlib.report.baselines import BASELINES
from partlib.runs import TrainResult, checkpoint, load_or_train
from partlib.runs.build import Recipe
from partlib.segmenter import FPNS, PartSegmenter, likeliest_part

FILE = Path(__file__).parent / "results" / "cub" / "scores.json"
CLUSTERINGS = ("feature k-means", "feature factorization (DFF)", "position k-means")
TRIALS = FILE.with_name("trials.json")  # written by cub_trials.py
SURE = 50.0  # logit of the part of a clustering, whose parts have no probabilities


class Compact(Objective):
    """A geometric method, as SCOPS's concentration loss: every part keeps together, whatever it looks like."""

    def feature_loss(self, maps: Tensor, features: list[Tensor], foreground: Tensor) -> Tensor:
        sides = [torch.linspace(-1, 1, n, device=maps.device) for n in maps.shape[-2:]]
        place = torch.stack(torch.meshgrid(*sides, indexing="ij")).expand(len(maps), -1, -1, -1)  # (B, 2, H, W)
        return losses.consistency_loss(maps, place, foreground)


class Concentration(Recipe):
    def objective(self) -> Objective:
        return Compact(self.config.temperature)


# places vary less than features: with the weights of those, equivariance makes one part of all four
GEOMETRIC = {"lambda_feature": 50.0, "lambda_visual": 0.0, "lambda_contrastive": 0.0, "lambda_equivariance": 1.0}
TRAINED: dict[str, tuple[dict[str, Any], type[Recipe]]] = {
    "ours": ({}, Recipe),
    "ours, without pixels": ({"lambda_visual": 0.0}, Recipe),
    "ours, without contrast": ({"lambda_contrastive": 0.0}, Recipe),
    "ours, trained on classes 001 to 003": ({"data_options": ["masks=boxes", "classes=1,2,3"]}, Recipe),
    "concentration and equivariance": (GEOMETRIC, Concentration),
    "ours, K = 8": ({"num_parts": 8, "lambda_contrastive": 3.0, "lambda_equivariance": 2.0}, Recipe),
}
COMPARED, FEWER = ("ours", "ours, without pixels"), 3  # rows with all seeds; how many the others have
RANDOM, NOTHING = "random decoder", "mean keypoint (no parts)"
UNTRAINED: dict[str, tuple[str, int]] = {name: (name, 4) for name in (*CLUSTERINGS, RANDOM, NOTHING)}
UNTRAINED |= {"feature k-means, K = 8": ("feature k-means", 8)}


class Birds:
    """The splits of a configuration's data set, and what networks see of them."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.recipe = config, Recipe(config)
        self.sets = {split: self.recipe.dataset(split) for split in ("train", "val", "test")}
        layers = FPNS[config.arch.partition(":")[0]]
        self.seen = PerceptualFeatures(layers=layers, size=None)  # by the segmenter's frozen encoder
        self._maps: dict[str, CachedFeatures] = {}

    def maps(self, dataset: PartDataset) -> CachedFeatures:
        """What the encoder sees of the images of a data set."""
        key = dataset.fingerprint()
        if key not in self._maps:
            self._maps[key] = cached_features(dataset, self.seen)
        return self._maps[key]

    def decoded(self, segmenter: PartSegmenter) -> Forward:
        """The logits of a segmenter whose encoder is the frozen one."""

        @torch.no_grad()
        def forward(dataset: PartDataset) -> Iterator[tuple[Batch, Tensor, list[int]]]:
            for batch, indices in batches(dataset):
                yield batch, segmenter.decoder(self.maps(dataset).batch(indices)), indices

        return forward

    def clustered(self, name: str, num_parts: int, seed: int) -> Forward:
        """A baseline fitted to the training images: each pixel has one part."""
        train = self.sets["train"]
        columns = Column(train, "image"), Column(train, "foreground")
        model = BASELINES[name](num_parts, seed).fit(*columns, report.features(self.recipe))

        def forward(dataset: PartDataset) -> Iterator[tuple[Batch, Tensor, list[int]]]:
            levels = report.features(self.recipe, dataset)
            for batch, indices in batches(dataset):
                given = batch.images, batch.foreground, [z[indices[0] : indices[-1] + 1] for z in levels]
                labels = likeliest_part(torch.cat(list(model.scores(*given)))) - 1  # (B, H, W)
                yield batch, SURE * F.one_hot(labels, num_parts).permute(0, 3, 1, 2).float(), indices

        return forward

    def scores(self, forward: Forward, split: str = "test") -> dict[str, Any]:
        """Scores of the paper's protocol on a split, from keypoints of the images before it, and the parts' shares.

        The regression of the test split is fitted to training and validation images, that of the latter to the former.
        """
        fitted = [self.sets[name] for name in (("train", "val") if split == "test" else ("train",))]
        shares: list[Tensor] = []
        read = read_keypoints(forward, fitted), read_keypoints(counted(forward, shares), [self.sets[split]])
        total = torch.stack(shares).sum(dim=0)[1:].double()
        return cub_scores(*read) | {"part_share": (total / total.sum()).tolist()}

    def without_parts(self) -> dict[str, Any]:
        """Scores of the mean keypoint: one part, which is always the middle of the box."""

        def forward(dataset: PartDataset) -> Iterator[tuple[Batch, Tensor, list[int]]]:
            for batch, indices in batches(dataset):
                yield batch, torch.zeros(len(indices), 1, 2, 2), indices

        def middle(reading: KeypointReading) -> KeypointReading:
            corner, side = reading.boxes[:, None, :2], reading.boxes[:, None, 2:]  # (N, 1, 2)
            return dataclasses.replace(reading, centers=corner + side / 2)

        train, val, test = (self.sets[split] for split in ("train", "val", "test"))
        return cub_scores(middle(read_keypoints(forward, [train, val])), middle(read_keypoints(forward, [test])))


def counted(forward: Forward, counts: list[Tensor]) -> Forward:
    """``forward``, which leaves behind how many foreground cells each part has, (K + 1,) per batch."""

    def inner(dataset: PartDataset) -> Iterator[tuple[Batch, Tensor, list[int]]]:
        for batch, low, indices in forward(dataset):
            inside = foreground_cells(batch.foreground, low.shape)[:, 0]  # (B, h, w)
            counts.append(torch.bincount(likeliest_part(low)[inside], minlength=low.shape[1] + 1))
            yield batch, low, indices

    return inner


def measure(root: str, seeds: list[int], rows: list[str]) -> Birds:
    """Every row of the table that is not stored yet, for its seeds, into ``FILE``; returns the data.

    What is stored counts if it was made of these photographs and masks with these settings.
    """
    base = TrainConfig.preset("cub", root=root)
    birds = Birds(base)
    for number, seed in enumerate(seeds):
        for title in rows or (*TRAINED, *UNTRAINED):
            source = source_of(birds, title)
            known = stored().get(title, {}).get(str(seed), {}).get("source") == source
            if (number < FEWER or title in COMPARED) and not known:
                began = time.perf_counter()
                found = one(birds, base.replace(seed=seed), title)
                keep(title, seed, found | {"seconds": round(time.perf_counter() - began), "source": source})
                print(f"{title}, seed {seed}: kp {found['kp_all']:.1f}, FG-NMI {found['fg_nmi']:.1f}", flush=True)
    return birds


def source_of(birds: Birds, title: str) -> str:
    """Ten characters for the images, masks and settings that a result is made of, wherever the files lie."""
    changes, recipe = TRAINED.get(title, ({}, Recipe))
    settings = birds.config.replace(**changes, root="", seed=0).digest() if title in TRAINED else title
    text = json.dumps([*(data.fingerprint() for data in birds.sets.values()), settings, recipe.__name__])
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def one(birds: Birds, base: TrainConfig, title: str) -> dict[str, Any]:
    """Test scores of a row and a seed."""
    if title in TRAINED:
        return birds.scores(birds.decoded(one_run(base, title).segmenter))
    name, num_parts = UNTRAINED[title]
    if name == NOTHING:
        return birds.without_parts()
    if name == RANDOM:
        return birds.scores(birds.decoded(birds.recipe.segmenter(base.seed).eval()))
    return birds.scores(birds.clustered(name, num_parts, base.seed))


def one_run(base: TrainConfig, title: str) -> TrainResult:
    """The run of a row and a seed, trained or loaded from its folder, in which the recipe has a part."""
    changes, recipe = TRAINED[title]
    config, kind = base.replace(**changes), "" if recipe is Recipe else f"-{recipe.__name__.lower()}"
    return load_or_train(config, runs_dir() / f"cub-k{config.num_parts}-{config.digest()}{kind}", recipe=recipe)


def stored(file: Path | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """{row: {seed: scores}} of ``FILE``, or of another."""
    file = file or FILE
    return json.loads(file.read_text(encoding="utf-8"))["scores"] if file.is_file() else {}


def keep(title: str, seed: int, found: dict[str, Any], file: Path | None = None) -> None:
    """Add a result to a file, which is read anew: another process may work on other rows."""
    scores = stored(file)
    scores[title] = {**scores.get(title, {}), str(seed): found}
    checkpoint.write_json(file or FILE, {"environment": report.environment(), "scores": scores})
