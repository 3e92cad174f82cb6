"""Pictures: shapes, colors, matching of parts, file sizes."""

import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

from partlib.data.base import Sample
from partlib.report.plots import (
    PART_COLORS,
    match_parts,
    overlay,
    palette_image,
    part_color,
    parts_grid,
    results_grid,
    save_png,
)


def quarters(size=32):
    """Label map (size, size): four parts in the middle, background around."""
    labels = torch.zeros(size, size, dtype=torch.int64)
    middle, quarter = size // 2, size // 4
    for k, (y, x) in enumerate(itertools.product((quarter, middle), repeat=2), start=1):
        labels[y : y + quarter, x : x + quarter] = k
    return labels


def sample(seed, size=32, annotated=True):
    image = torch.rand(3, size, size, generator=torch.Generator().manual_seed(seed))
    parts = quarters(size)
    return Sample(image, (parts > 0).float()[None], parts if annotated else None, None, 0, f"sample {seed}")


# Linear maps from RGB to what is seen without red, green or blue cones (Machado, Oliveira, Fernandes, 2009).
BLINDNESS = {
    "none": np.eye(3),
    "protan": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deutan": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
}


@pytest.mark.parametrize(("kind", "least"), [("none", 20), ("protan", 10), ("deutan", 10)])
def test_the_first_eight_part_colors_can_be_told_apart(kind, least):
    rgb = np.array([part_color(k) for k in range(1, 9)])
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    seen = (linear @ BLINDNESS[kind].T).clip(0, 1)
    lab = rgb2lab(np.where(seen > 0.0031308, 1.055 * seen ** (1 / 2.4) - 0.055, 12.92 * seen)[None])[0]
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)]
    assert min(distances) > least


def test_every_label_has_a_color():
    assert len({part_color(k) for k in range(len(PART_COLORS) + 1)}) == len(PART_COLORS) + 1
    assert part_color(len(PART_COLORS) + 1) == part_color(1)


def test_overlay_shows_parts_in_their_colors_and_fades_the_rest():
    image, labels = torch.full((3, 32, 32), 0.5), quarters()
    picture = overlay(image, labels, alpha=1.0, outline=False)
    assert picture.shape == (32, 32, 3)
    assert picture.dtype == np.uint8
    for k in range(1, 5):
        expected = np.round(np.array(part_color(k)) * 255)
        assert (picture[labels.numpy() == k] == expected).all()
    assert picture[0, 0].min() > 128  # lighter than the image
    untouched = overlay(image, labels, alpha=0.0, outline=False)
    assert np.ptp(untouched[labels.numpy() > 0], axis=1).max() == 0  # gray under the parts


def test_overlay_draws_a_line_between_parts_only_where_asked():
    image, labels = torch.zeros(3, 32, 32), quarters()
    lines = (overlay(image, labels) == 255).all(2)
    assert lines[15, 10]  # last row of part 1, above part 3
    assert not lines[11, 11]
    assert not (overlay(image, labels, outline=False) == 255).all(2).any()


@pytest.mark.parametrize("kind", ["tensor", "array", "bytes"])
def test_overlay_takes_images_in_any_layout(kind):
    image = sample(0).image
    array = image.permute(1, 2, 0).numpy()  # (H, W, 3)
    given = {"tensor": image, "array": array, "bytes": np.round(array * 255).astype(np.uint8)}[kind]
    assert np.abs(overlay(given, quarters()).astype(int) - overlay(image, quarters()).astype(int)).max() <= 1


def test_overlay_enlarges_without_inventing_parts():
    labels = torch.zeros(16, 24, dtype=torch.int64)
    labels[4:12, 4:12], labels[4:12, 12:20] = 1, 5
    large = overlay(torch.zeros(3, 16, 24), labels, alpha=1.0, outline=False, scale=3)
    assert large.shape == (48, 72, 3)
    found = {tuple(color) for color in large.reshape(-1, 3)}
    small = {tuple(color) for color in overlay(torch.zeros(3, 16, 24), labels, alpha=1.0, outline=False).reshape(-1, 3)}
    assert found == small


def test_pictures_and_labels_of_two_sizes_are_refused():
    with pytest.raises(AssertionError, match=r"image is \(8, 8\) pixels but labels are \(9, 8\)"):
        overlay(torch.zeros(3, 8, 8), torch.zeros(9, 8).long())
    with pytest.raises(AssertionError, match="expected \\(3, H, W\\)"):
        overlay(torch.zeros(8, 8), torch.zeros(8, 8).long())


def test_palette_image_keeps_the_labels_through_a_file():
    labels, stream = quarters(), io.BytesIO()
    palette_image(labels).save(stream, format="png")
    picture = Image.open(stream)
    assert (np.asarray(picture) == labels.numpy()).all()
    assert tuple(np.asarray(picture.convert("RGB"))[8, 8]) == tuple(round(255 * c) for c in part_color(1))


def test_matching_undoes_a_permutation():
    reference = torch.stack([quarters(), quarters().flip(0)])
    renamed = torch.tensor([0, 3, 1, 4, 2])[reference]
    assert torch.equal(match_parts(renamed, reference), reference)


@pytest.mark.parametrize(("parts", "classes"), [(6, 3), (3, 6), (4, 4)])
def test_matching_renames_and_never_merges(parts, classes):
    generator = torch.Generator().manual_seed(parts)
    labels = torch.randint(0, parts + 1, (2, 20, 20), generator=generator)
    reference = torch.randint(0, classes + 1, (2, 20, 20), generator=generator)
    matched = match_parts(labels, reference)
    pairs = set(zip(labels.flatten().tolist(), matched.flatten().tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == parts + 1
    assert (0, 0) in pairs
    assert max(b for _, b in pairs) <= max(parts, classes)


def test_matching_takes_the_largest_total_overlap():
    reference = torch.tensor([[1] * 10 + [2] * 10])
    labels = torch.tensor([[1] * 6 + [2] * 4 + [1] * 9 + [2] * 1])  # part 1 overlaps class 2 most
    assert match_parts(labels, reference)[0].tolist() == [2] * 6 + [1] * 4 + [2] * 9 + [1]


def test_matching_pictures_without_parts_changes_nothing():
    empty = torch.zeros(4, 4, dtype=torch.int64)
    assert torch.equal(match_parts(empty, empty), empty)
    assert torch.equal(match_parts(quarters(), torch.zeros(32, 32).long()), quarters())


def test_results_grid_has_a_row_for_everything(tmp_path):
    samples = [sample(i) for i in range(3)]
    labels = torch.stack([torch.tensor([0, 2, 1, 4, 3])[quarters()]] * 3)
    path = tmp_path / "new" / "parts.png"
    figure = results_grid(samples, {"baseline": labels, "ours": labels}, path, part_names=["a", "b", "c", "d"])
    assert [text.get_text() for text in figure.texts] == ["image", "ground truth", "baseline", "ours"]
    assert len(figure.axes) == 4 * 3
    shown = [axes.get_images()[0].get_array() for axes in figure.axes]
    assert (shown[3] == shown[6]).all()  # matched to the annotation, the permuted parts look the same
    picture = Image.open(path)
    assert picture.size == tuple(np.round(figure.get_size_inches() * figure.dpi).astype(int))
    assert not plt.get_fignums()  # closed: a loop over epochs must not pile up figures


def test_colors_are_matched_over_all_samples_whichever_are_shown():
    samples = [sample(i) for i in range(3)]
    labels = torch.stack([quarters(), quarters(), torch.tensor([0, 2, 1, 4, 3])[quarters()]])
    figure = results_grid(samples, {"ours": labels}, pick=[2])
    _, truth, ours = (axes.get_images()[0].get_array() for axes in figure.axes)
    assert (truth != ours).any()  # on this image alone the permuted parts would look right


def test_results_grid_without_annotation_shows_labels_as_they_are():
    figure = results_grid([sample(0, annotated=False)], {"ours": quarters()[None]}, part_names=["unused"])
    assert [text.get_text() for text in figure.texts] == ["image", "ours"]
    assert not figure.legends


def test_png_stays_under_its_limit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (4, 150, 150, 3), dtype=np.uint8)  # hardest to compress
    figure = parts_grid({"noise": list(noise)})
    save_png(figure, tmp_path / "full.png")
    save_png(figure, tmp_path / "small.png", max_bytes=60_000)
    assert (tmp_path / "full.png").stat().st_size > 100_000
    assert (tmp_path / "small.png").stat().st_size <= 60_000
    assert Image.open(tmp_path / "small.png").width > 100
