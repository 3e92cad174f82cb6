"""Damage is what it says: the object stays, strength 0 changes nothing, more strength is farther from the truth."""

import pytest
import torch
from partlib_course.degrade import DAMAGES, degrade

from partlib.errors import ConfigError, DataError
from partlib.metrics import PartScores, contingency_table


@pytest.fixture(scope="module")
def truth(tiny_birds):
    return torch.stack([sample.parts for sample in tiny_birds[1]])


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_the_foreground_stays(truth, damage, strength, dtype):
    found = degrade(truth.to(dtype), damage, strength)
    assert found.shape == truth.shape
    assert found.dtype == dtype
    assert torch.equal(found > 0, truth > 0)


@pytest.mark.parametrize("damage", DAMAGES)
def test_strength_0_changes_nothing(truth, damage):
    assert torch.equal(degrade(truth, damage, 0.0), truth)


@pytest.mark.parametrize("damage", DAMAGES)
def test_more_strength_is_farther_from_the_truth(truth, damage):
    nmi = [PartScores().update(degrade(truth, damage, s), truth).compute()["fg_nmi"] for s in (0, 0.34, 0.67, 1)]
    assert nmi[0] > nmi[1] + 3
    assert nmi[1] > nmi[3] + 3
    assert nmi == sorted(nmi, reverse=True)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_same_seed_makes_the_same_damage(truth, damage):
    assert torch.equal(degrade(truth, damage, 0.5, seed=3), degrade(truth, damage, 0.5, seed=3))


def test_merging_leaves_one_part_and_only_joins(truth):
    assert set(degrade(truth, "merge parts", 1.0).unique().tolist()) == {0, 1}
    table = contingency_table(degrade(truth, "merge parts", 0.5), truth)
    assert bool(((table > 0).sum(1) <= 1).all())  # every annotated part lies in one found part


def test_splitting_never_joins_and_cuts_every_part_in_four(truth):
    table = contingency_table(degrade(truth, "split parts", 1.0), truth)
    assert bool(((table > 0).sum(0) <= 1).all())  # every found part lies in one annotated part
    assert bool(((table[1:] > 0).sum(1) == 4).all())


def test_cores_stay_inside_their_part_and_shrink_to_a_fiftieth():
    labels = torch.ones(1, 40, 40, dtype=torch.long)
    labels[:, :, 20:] = 2
    found = degrade(labels, "cores only", 1.0)
    for k in (1, 2):
        inside = (found == k) & (labels == k)
        assert int((found == k).sum()) == int(inside.sum())
        assert 0.01 < float(inside.sum()) / float((labels == k).sum()) < 0.03
    assert abs(float(torch.nonzero(found[0] == 1)[:, 1].float().mean()) - 9.5) < 0.6


def test_blocks_are_constant_inside_the_object():
    labels = torch.randint(1, 4, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    found = degrade(labels, "coarse blocks", 1.0)  # blocks of a quarter, 4 pixels
    blocks = found.view(2, 4, 4, 4, 4)  # (N, h, 4, w, 4)
    assert bool((blocks == blocks[:, :, :1, :, :1]).all())


def test_mixing_up_permutes_numbers_within_an_image(truth):
    found = degrade(truth, "mix up images", 1.0)
    for before, after in zip(truth, found, strict=True):
        assert PartScores().update(after, before).compute()["nmi"] > 99.999
    assert not torch.equal(found, truth)


@pytest.mark.parametrize("damage", ["merge parts", "shift borders", "coarse blocks"])
def test_an_image_without_an_object_is_left_alone(truth, damage):
    labels = torch.cat([truth[:1], torch.zeros_like(truth[:1])])
    assert not bool(degrade(labels, damage, 1.0)[1].any())


def test_wrong_arguments_are_named(truth):
    with pytest.raises(ConfigError, match="damage 'blur' is unknown; expected one of merge parts"):
        degrade(truth, "blur", 0.5)
    with pytest.raises(ConfigError, match=r"strength is 1\.5"):
        degrade(truth, "merge parts", 1.5)
    with pytest.raises(DataError, match=r"expected \(N, H, W\)"):
        degrade(truth[0], "merge parts", 0.5)
    with pytest.raises(DataError, match="with parts"):
        degrade(torch.zeros_like(truth), "merge parts", 0.5)
