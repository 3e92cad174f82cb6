"""The benchmarks: right answers, the order of magnitude of the ratios, and a table that says what the file says.

Ratios are of processor time and with generous margins: other programs and slow machines must not fail a test.
"""

import json

import pytest
import torch

from benchmarks import report
from benchmarks.__main__ import main
from benchmarks.cases import CASES, SIZES, Shape
from benchmarks.measure import in_own_process, side_by_side
from benchmarks.run import all_cases, bench, measure
from benchmarks.scaling import efficiency, exchange_seconds
from benchmarks.step import differences
from partlib.errors import ConfigError, DataError
from partlib.metrics import PartScores

CPU = torch.device("cpu")
LEAST = {"feature-loss": 5, "descriptors": 4, "contrastive-loss": 3, "warps": 2, "scores": 20, "keypoints": 10}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", LEAST)
def test_the_library_is_faster_than_the_plain_formula(name):
    taken = side_by_side(
        CASES[name].build(SIZES["small"], CPU), 8, CPU
    )  # the best of eight: others disturb few of them
    best = {variant: min(one.cpu_seconds for one in runs) for variant, runs in taken.items()}
    assert best["plain"] / best["partlib"] > LEAST[name]


def test_the_feature_loss_takes_a_small_part_of_the_plain_memory():
    arguments = {"do": "memory", "case": "feature-loss", "size": "small", "device": "cpu"}
    peaks = {v: in_own_process({**arguments, "variant": v}, threads=1)["bytes"] for v in ("plain", "partlib")}
    if None in peaks.values():
        pytest.skip("this system does not tell the memory of a process")
    assert peaks["plain"] > 50e6
    assert peaks["plain"] / max(peaks["partlib"], 1e6) > 10


@pytest.mark.parametrize("name", ["feature-loss", "visual-loss", "descriptors", "contrastive-loss", "warps"])
def test_plain_and_library_answer_the_same(name):
    variants = CASES[name].build(Shape(3, 3, 48, ((16, 12), (8, 6)), 1000), CPU)
    plain, ours = variants["plain"](), variants["partlib"]()
    for a, b in zip(*([x] if isinstance(x, torch.Tensor) else x for x in (plain, ours)), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5 * float(a.abs().max()))


@pytest.mark.parametrize("name", ["scores", "keypoints"])
def test_plain_and_library_score_the_same(name):
    variants = CASES[name].build(SIZES["tiny"], CPU)
    assert variants["partlib"]() == pytest.approx(variants["plain"](), rel=1e-9)


def test_float32_keeps_its_digits_in_the_feature_loss():
    errors = CASES["feature-loss"].check(SIZES["small"], CPU)
    assert max(errors["value error"], errors["soft value error"]) < 1e-6
    assert max(errors["gradient error"], errors["soft gradient error"]) < 5e-5


def test_the_plain_step_and_the_trainer_have_one_loss_and_one_gradient():
    errors = differences(SIZES["tiny"], CPU)
    assert errors["loss error"] < 1e-8
    assert errors["gradient error"] < 1e-6


def test_every_variant_of_the_step_runs(own_cache):
    variants = all_cases()["step"].build(SIZES["tiny"], CPU)
    assert list(variants) == ["plain", "partlib", "partlib, cached features", "networks alone"]
    totals = [variants[name]()["total"].item() for name in list(variants)[:3]]
    assert totals[1:] == pytest.approx([totals[0]] * 2, rel=1e-2)
    assert variants["networks alone"]() == {}


def test_counting_in_a_stream_scores_as_counting_at_once():
    prediction, target = torch.randint(0, 5, (1000,)), torch.randint(0, 10, (1000,))
    stream = PartScores(4, 9)
    for _ in range(3):
        stream.update(prediction, target)
    whole = PartScores(4, 9).update(prediction.repeat(3), target.repeat(3))
    assert stream.compute() == whole.compute()


def test_the_command_adds_rows_to_the_file_and_rewrites_picture_and_table(tmp_path, capsys):
    out, readme = tmp_path / "benchmarks.json", tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    out.write_text(json.dumps({"rows": {}}))
    options = ["--size", "small", "--runs", "2", "--threads", "1", "--out", str(out), "--readme", str(readme)]
    assert main(["contrastive-loss", *options]) is None
    row = json.loads(out.read_text())["rows"]["contrastive-loss, small, cpu"]
    seconds = {name: found["seconds"] for name, found in row["variants"].items()}
    assert len(row["variants"]["plain"]["seconds of every run"]) == 2
    assert row["ratios"]["partlib"]["time"] == pytest.approx(seconds["plain"] / seconds["partlib"])
    assert row["on"]["torch"] == torch.__version__
    assert out.with_suffix(".png").stat().st_size > 5000
    text = readme.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n| what |")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text
    assert report.duration(seconds["plain"]) in text
    assert "| all of it on a GPU | not measured |" in text
    assert "rows and picture are in" in capsys.readouterr().out


def test_what_there_is_no_memory_for_is_said_to_be_not_measured(monkeypatch):
    monkeypatch.setattr("benchmarks.run.available_memory", lambda: 4_000_000_000)
    row = measure("feature-loss", CASES["feature-loss"], "paper", "cpu", 1, 1, 1)
    assert row["not measured"] == "needs 14 GB of memory, 4 GB were free"
    (line,) = report._lines(row)
    assert line.startswith("| feature loss, forward and backward | not measured: needs 14 GB")


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"benchmark 'speed' is unknown; expected one of feature-loss, .*scaling"):
        bench(tmp_path / "b.json", ["speed"])
    with pytest.raises(ConfigError, match="size is 'huge'; expected paper or small"):
        bench(tmp_path / "b.json", ["warps"], size="huge")
    (tmp_path / "README.md").write_text("no markers")
    with pytest.raises(DataError, match=r"README.md has no place for the table"):
        report.write_table({}, tmp_path / "README.md")


@pytest.mark.parametrize(
    ("seconds", "text"), [(61.23, "61.2 s"), (1.0, "1 s"), (0.0312, "31.2 ms"), (2.5e-5, "25 µs"), (4e-9, "0.004 µs")]
)
def test_durations_have_the_unit_that_suits_them(seconds, text):
    assert report.duration(seconds) == text


def test_the_simulated_exchange_is_a_ring():
    assert exchange_seconds(1e9, 1, 1e9) == 0
    assert exchange_seconds(1e9, 2, 1e9) == pytest.approx(1)
    assert exchange_seconds(1e9, 1000, 1e9) == pytest.approx(2, rel=1e-2)
    assert efficiency(1.0, 1e9, 2, 1e9) == pytest.approx(0.5)
    assert efficiency(1.0, 1e9, 2, 1e12) > 0.99
