"""The benchmarks: right answers, the order of magnitude of the ratios, and a table that says what the file says.

Ratios are of processor time and with generous margins: other programs and slow machines must not fail a test.
"""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.benchmark import Timer

from benchmarks.__main__ import BEGIN, END, cost, main, measured, table, write_table
from benchmarks.bench import CASES, SIZES, Shape, efficiency, paper_step
from partlib.config import LOSSES
from partlib.loader import step_generator
from tests import plain

CPU = torch.device("cpu")
REPOSITORY = Path(__file__).parents[2]
LEAST = {"feature-loss": 5, "descriptors": 4, "contrastive-loss": 3, "warps": 2, "scores": 20, "keypoints": 10}


@pytest.mark.parametrize("name", LEAST)
def test_the_library_is_faster_than_the_plain_formula(name):
    best = {}
    for variant in ("plain", "partlib"):
        function = CASES[name].build(variant, SIZES["small"], CPU)
        timer = Timer("function()", globals={"function": function}, timer=time.process_time)  # on one thread
        best[variant] = min(timer.blocked_autorange(min_run_time=0.05).times)
    assert best["plain"] / best["partlib"] > LEAST[name]


@pytest.mark.parametrize("name", [name for name in CASES if name != "step"])
def test_plain_and_library_answer_the_same(name):
    shape = Shape(3, 3, 48, ((16, 12), (8, 6)), 1000)
    plain_answer, ours = (CASES[name].build(variant, shape, CPU)() for variant in ("plain", "partlib"))
    if isinstance(ours, torch.Tensor | tuple):  # grids, or value and gradient
        for a, b in zip(*([x] if isinstance(x, torch.Tensor) else x for x in (plain_answer, ours)), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5 * float(a.abs().max()))
    else:
        assert ours == pytest.approx(plain_answer, rel=1e-9)


@pytest.mark.slow
def test_the_plain_step_and_the_trainer_have_one_loss_and_one_gradient(own_cache):
    """In float64: in float32 rounding alone moves the gradient of the random network by some percent."""
    trainer = paper_step(SIZES["tiny"], CPU)
    batches, weights, segmenter = trainer.loader.batches, trainer.schedule.weights, trainer.segmenter.double()
    extractor, batch = batches.features.extractor.double(), batches[0][0]
    batch = replace(batch, images=batch.images.double(), foreground=batch.foreground.double())
    ours = trainer.objective(segmenter, batch, extractor(batch.images), weights, step_generator(0, 0))
    arguments = extractor, batch.images, batch.foreground, weights, step_generator(0, 0)
    expected = plain.step_losses(segmenter, *arguments)
    assert {k: v.item() for k, v in ours.items()} == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-8)
    trained = [p for p in segmenter.parameters() if p.requires_grad]
    found, wanted = (torch.autograd.grad(terms["total"], trained) for terms in (ours, expected))
    difference = sum((a - b).square().sum() for a, b in zip(found, wanted, strict=True))
    assert difference.sqrt() < 1e-6 * sum(b.square().sum() for b in wanted).sqrt()


@pytest.mark.slow
@pytest.mark.parametrize("variant", CASES["step"].variants)
def test_every_variant_of_the_step_runs(variant, own_cache):
    terms = CASES["step"].build(variant, SIZES["tiny"], CPU)()
    assert terms is None or set(terms) == {"total", *LOSSES}


@pytest.mark.slow
def test_the_command_measures_writes_the_file_and_rewrites_picture_and_table(tmp_path, capsys):
    out, readme = tmp_path / "benchmarks.json", tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    out.write_text(json.dumps({"rows": {}}))
    options = ["--size", "small", "--runs", "2", "--threads", "1", "--out", str(out), "--readme", str(readme)]
    main(["feature-loss", *options])
    row = json.loads(out.read_text())["rows"]["feature-loss, small, cpu"]
    first, ours = row["variants"]["plain"], row["variants"]["partlib"]
    assert len(first["seconds of every run"]) == 2
    assert row["ratios"]["partlib"]["time"] == pytest.approx(first["seconds"] / ours["seconds"])
    if "megabytes" in first:  # where the system tells the memory of a process
        assert first["megabytes"] > 50
        assert row["ratios"]["partlib"]["memory"] > 10
    assert out.with_suffix(".png").stat().st_size > 5000
    text = readme.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| what ")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text
    assert f"| {cost(first)} " in text
    assert "rows and picture are in" in capsys.readouterr().out


def test_the_table_of_the_page_says_what_the_file_says():
    def cells(text):
        lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("|")]
        return [line for line in lines if not line[1].startswith((":", "--"))]

    readme = (REPOSITORY / "docs" / "SPEED.md").read_text(encoding="utf-8")
    rows = json.loads((REPOSITORY / "figures" / "benchmarks.json").read_text(encoding="utf-8"))["rows"]
    assert cells(readme.split(BEGIN)[1].split(END)[0]) == cells(table(rows))
    assert {name.split(",")[0] for name in rows} == {*CASES, "scaling"}


def test_what_there_is_no_memory_for_is_said_to_be_not_measured(monkeypatch):
    monkeypatch.setattr("benchmarks.__main__.from_proc", lambda file, entry: "3906250 kB")
    row = measured("feature-loss", "paper", "cpu", 1, 1)
    assert row["not measured"] == "needs 14 GB of memory, 4 GB were free"


def test_mistakes_are_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "benchmark 'speed' is unknown; expected one of feature-loss, " in capsys.readouterr().err
    (tmp_path / "README.md").write_text("no markers")
    with pytest.raises(SystemExit, match=r"README.md has no place for the table"):
        write_table({}, tmp_path / "README.md")


@pytest.mark.parametrize(
    ("seconds", "text"), [(61.23, "61.2 s"), (1.0, "1 s"), (0.0312, "31.2 ms"), (2.5e-5, "25 µs"), (4e-9, "0.004 µs")]
)
def test_durations_have_the_unit_that_suits_them(seconds, text):
    assert cost({"seconds": seconds, "seconds of every run": [seconds] * 2}) == text


def test_the_simulated_exchange_is_a_ring():
    assert efficiency(1.0, 1e9, 1, 1e9) == 1
    assert efficiency(1.0, 1e9, 2, 1e9) == pytest.approx(1 / 2)  # as long as the step
    assert efficiency(1.0, 1e9, 1000, 1e9) == pytest.approx(1 / 3, rel=1e-2)  # twice as long
