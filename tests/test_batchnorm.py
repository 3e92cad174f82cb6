"""What of BatchNorm may change in training: nothing, its scale and shift, or its statistics too."""

import pytest
import torch
from torch import nn

from partlib import PartSegmenter, TrainConfig
from partlib.training import Trainer, set_batchnorm


@pytest.mark.parametrize(("mode", "affine", "statistics"), [("frozen", 0, 0), ("affine", 1, 0), ("train", 1, 1)])
def test_batchnorm_changes_what_its_mode_allows(mode, affine, statistics, tiny_birds):
    config = TrainConfig(image_size=32, feature_size=32, batch_size=4, starts=1, steps=4, batchnorm=mode)
    trainer = Trainer(config, "cpu", tiny_birds)
    layers = [m for m in trainer.segmenter.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(m.weight.detach().clone(), m.running_mean.clone()) for m in layers]
    convolution = trainer.segmenter.encoder.network.conv_stem.weight
    kernel = convolution.detach().clone()
    trainer.advance()
    assert len(layers) > 40
    assert sum(not torch.equal(m.weight, w) for m, (w, _) in zip(layers, before, strict=True)) == affine * len(layers)
    moved = sum(not torch.equal(m.running_mean, s) for m, (_, s) in zip(layers, before, strict=True))
    assert moved == statistics * len(layers)
    assert not torch.equal(convolution, kernel)


def test_batchnorm_modes_leave_other_normalisation_trainable():
    segmenter = PartSegmenter(3, weights="random").train()
    set_batchnorm(segmenter, "frozen")
    groups = [m for m in segmenter.modules() if isinstance(m, nn.GroupNorm)]
    assert groups
    assert all(p.requires_grad for m in groups for p in m.parameters())
