"""Films of a training: the frames that were asked for, kept beside the run."""

import pytest
import torch
from partlib_course.film import Film

from partlib import load_or_train, train
from partlib.config import TrainConfig
from partlib.errors import ConfigError
from partlib.evaluation import predict

CONFIG = TrainConfig(
    image_size=32,
    feature_size=32,
    **{"starts": 1, "batch_size": 4, "steps": 4, "eval_every": 0, "log_every": 1, "checkpoint_every": 2},
)


def fit(config, out, tiny_birds, **options):
    return train(config, out, progress=False, device="cpu", datasets=tiny_birds, **options)


def weights(result):
    return torch.cat([p.detach().flatten() for p in result.segmenter.parameters()])


def test_a_film_has_the_frames_asked_for_and_does_not_change_the_run(tiny_birds):
    film = Film(tiny_birds[1], [1, 3, 4, 99])
    result = fit(CONFIG, None, tiny_birds, on_step=film)
    assert film.steps == [1, 3, 4]
    assert film.labels.shape == (3, len(tiny_birds[1]), 32, 32)
    assert torch.equal(film.labels[-1], predict(result.segmenter, tiny_birds[1]))
    assert torch.equal(weights(result), weights(fit(CONFIG, None, tiny_birds)))
    rows = film.shares(CONFIG.num_parts)
    assert [row["step"] for row in rows] == [1, 3, 4]
    assert sum(rows[-1][f"share_{k}"] for k in range(1, 5)) == pytest.approx(1)


def test_frames_survive_an_interruption_and_loading(tiny_birds, tmp_path):
    path = tmp_path / "film.safetensors"

    def interrupted(trainer, terms):
        film(trainer, terms)
        if trainer.step == 3:
            raise KeyboardInterrupt

    film = Film(tiny_birds[1], [1, 2, 4], path)
    with pytest.raises(KeyboardInterrupt):
        fit(CONFIG, tmp_path, tiny_birds, on_step=interrupted)
    resumed = Film(tiny_birds[1], [1, 2, 4], path)
    assert resumed.steps == [1, 2]
    options = {"progress": False, "device": "cpu", "datasets": tiny_birds}
    load_or_train(CONFIG, tmp_path, on_step=resumed, **options)
    loaded = Film(tiny_birds[1], [1, 2, 4], path)
    load_or_train(CONFIG, tmp_path, on_step=loaded, **options)
    whole = Film(tiny_birds[1], [1, 2, 4])
    fit(CONFIG, None, tiny_birds, on_step=whole)
    assert loaded.steps == [1, 2, 4]
    assert torch.equal(loaded.labels, whole.labels)


def test_a_film_of_other_images_is_refused(tiny_birds, tmp_path):
    path = tmp_path / "film.safetensors"
    fit(CONFIG, None, tiny_birds, on_step=Film(tiny_birds[1], [1], path))
    with pytest.raises(ConfigError, match="has frames of shape"):
        Film(tiny_birds[1].subset([0, 1]), [1], path)


def test_a_film_without_frames_says_so(tiny_birds):
    with pytest.raises(ConfigError, match="no frame"):
        _ = Film(tiny_birds[1], [1]).labels


def test_the_log_of_a_run_that_goes_on_can_be_read(tiny_birds, tmp_path):
    from partlib_course.figures_training import read_log

    def stop(trainer, terms):
        if trainer.step == 3:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fit(CONFIG, tmp_path, tiny_birds, on_step=stop)
    assert [row["step"] for row in read_log(tmp_path / "log.csv")] == [1, 2]
