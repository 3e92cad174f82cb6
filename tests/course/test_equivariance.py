"""Both ways around the square agree with the loss, and networks that ignore the image are equivariant for nothing."""

import io
import math

import pytest
import torch
from partlib_course.equivariance import (
    confidence,
    equivariance_explorer,
    one_part,
    shades,
    source_points,
    square_figure,
    square_frame,
    stripes,
    two_ways,
    uniform,
)
from partlib_course.notebook import animation
from PIL import Image

from partlib import warps
from partlib.losses import equivariance_loss
from tests.course.test_widgets import change


@pytest.fixture(scope="module")
def birds(tiny_birds):
    samples = [tiny_birds[0][i] for i in range(6)]
    return torch.stack([s.image for s in samples]), torch.stack([s.foreground for s in samples])


@pytest.fixture(scope="module")
def points():
    return warps.random_points(6, torch.Generator().manual_seed(0), scale=(0.9, 1.2), angle=50)


def test_divergence_sums_to_the_loss(birds, points):
    ways = two_ways(shades, *birds, points)
    area = ways.foreground.sum((1, 2, 3))
    assert abs(float((ways.divergence().sum((1, 2)) / area).mean()) - ways.loss()) < 1e-4
    assert ways.loss() == float(equivariance_loss(ways.warped_first, ways.divided_first, ways.foreground))


@pytest.mark.parametrize("network", [uniform, shades, stripes])
def test_the_identity_costs_nothing(birds, network):
    ways = two_ways(network, *birds, warps.identity_points().expand(6, -1, -1))
    assert ways.loss() < 1e-3
    assert ways.agreement() > 0.99


def test_only_divisions_that_follow_the_object_or_ignore_everything_are_equivariant(birds, points):
    loss = {
        network.__name__: two_ways(network, *birds, points).loss() for network in (uniform, one_part, shades, stripes)
    }
    assert loss["uniform"] < 1e-6
    assert loss["one_part"] < 0.05
    assert loss["stripes"] > 3 * loss["shades"]
    assert loss["stripes"] > 0.5


def test_labels_are_0_off_the_warped_object(birds, points):
    ways = two_ways(stripes, *birds, points)
    for labels in ways.labels():
        assert torch.equal(labels > 0, ways.foreground[:, 0] > 0.5)


def test_confidence_goes_from_undecided_to_sure(birds):
    images, masks = birds
    assert confidence(uniform(images, 5), masks) == pytest.approx(0.2)
    assert confidence(one_part(images), masks) > 0.999


def test_source_points_without_change_are_the_lattice():
    assert torch.allclose(source_points(12, 0.0, 0.0, 1.0, 0.0), warps.identity_points())
    turned = source_points(12, 0.0, 0.0, 1.0, 90.0)
    assert torch.allclose(turned.norm(dim=1).max(), torch.tensor(math.sqrt(2)))


@pytest.mark.parametrize(
    "values",
    [{"network": "shades"}, {"dx": -0.4}, {"dy": 0.4}, {"scale": 0.6}, {"angle": -40.0}, {"point": 6}],
    ids=str,
)
def test_each_control_of_the_explorer_changes_the_picture(birds, values):
    explorer = equivariance_explorer({"shades": shades, "stripes": stripes}, birds[0][0], birds[1][0])
    assert change(explorer, **values) > 0.3


def test_square_has_a_row_per_network(birds):
    figure = square_figure({"a": uniform, "b": stripes}, birds[0][0], birds[1][0], warps.identity_points())
    assert len(figure.axes) == 8
    assert [figure.axes[i].get_ylabel().split("\n")[0] for i in (0, 4)] == ["a", "b"]


def test_the_picture_of_a_warp_shows_the_number_of_every_control_point(birds):
    points = warps.identity_points()
    axes = square_figure({"b": stripes}, birds[0][0], birds[1][0], points, chosen=7).axes[0]
    assert {text.get_text(): text.get_position() for text in axes.texts} == {
        str(i): tuple(point) for i, point in enumerate(points.tolist())
    }
    colors = axes.collections[0].get_facecolor()
    assert [i for i, color in enumerate(colors.tolist()) if color != colors[0].tolist()] == [7]


def test_a_film_is_a_small_gif_that_plays_again_and_again(birds):
    turns = [source_points(12, 0.0, 0.0, 1.0, angle) for angle in (0.0, 20.0, 40.0)]
    frames = [square_frame({"a": shades, "b": stripes}, birds[0][0], birds[1][0], points) for points in turns]
    assert len({frame.tobytes() for frame in frames}) == 3
    assert list(animation(frames)._repr_mimebundle_()[0]) == ["image/gif"]
    shown = Image.open(io.BytesIO(animation(frames).data))
    assert (shown.n_frames, shown.info["loop"], shown.size) == (3, 0, frames[0].size)
    assert len(animation(frames).data) < 200_000
