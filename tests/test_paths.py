"""The one writer and the one cache: files and folders are there whole or not at all, arrays are computed once."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from partlib.errors import ConfigError
from partlib.paths import cached_arrays, cached_rows, read, write_atomically


def broken(error, write):
    def run(target):
        write(target)
        raise error

    return run


def test_a_crash_in_the_middle_of_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, lambda p: p.write_text("old"))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, broken(OSError("disk full"), lambda p: p.write_text("ha")))
    assert path.read_text() == "old"
    write_atomically(path, lambda p: p.write_text("new"))
    assert path.read_text() == "new"
    assert [f.name for f in path.parent.iterdir()] == ["file.txt"]


def test_arrays_are_computed_once_for_each_key_and_an_interrupted_computation_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_CACHE", str(tmp_path))
    calls = []

    def make(value):
        def save(folder):
            calls.append(value)
            np.save(folder / "a.npy", np.full(3, value))
            np.save(folder / "b.npy", np.zeros(2))

        return save

    with pytest.raises(KeyboardInterrupt):
        cached_arrays("test", {"seed": 1}, broken(KeyboardInterrupt, make(0)))
    assert [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size] == []
    for seed, expected in ((1, 1.0), (1, 1.0), (2, 2.0)):
        arrays = cached_arrays("test", {"seed": seed}, make(seed))
        assert isinstance(arrays["a"], np.memmap)
        assert (list(arrays), arrays["a"].tolist()) == (["a", "b"], [expected] * 3)
    assert calls == [0, 1, 2]
    assert len(list(tmp_path.glob("test-*"))) == 2


def test_interrupted_rows_go_on_behind_the_last_whole_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_CACHE", str(tmp_path))
    made: list[int] = []

    def plan(stop_at=99):
        def make(first):
            for i in range(first, 6, 2):
                if i >= stop_at:
                    raise KeyboardInterrupt
                made.append(i)
                yield {"a": np.full((2, 3), i), "b": np.full((2, 1, 2), -i)}

        return "numbers", {"a": (6, 3), "b": (6, 1, 2)}, make

    with pytest.raises(KeyboardInterrupt):
        cached_rows("test", 1, lambda: plan(stop_at=4))
    (partial,) = tmp_path.iterdir()  # nothing that anybody would take for the whole
    with open(partial / "a.npy", "ab") as file:
        file.write(b"xyz")  # half a row, as a kill leaves it
    with pytest.raises(ConfigError, match=r"numbers would take .* and the limit is 0 GB"):
        cached_rows("test", 1, plan, limit_gb=0)
    for _ in range(2):
        arrays = cached_rows("test", 1, plan)
        assert arrays["a"].tolist() == [[i // 2 * 2] * 3 for i in range(6)]
        assert arrays["b"][:, 0, 0].tolist() == [0, 0, -2, -2, -4, -4]
    assert made == [0, 2, 4]
    assert [path.name for path in arrays_folder(tmp_path)] == ["a.npy", "b.npy", "sizes.json"]


def test_of_two_at_once_one_makes_the_rows_and_the_other_waits(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_CACHE", str(tmp_path))
    made = []

    def make(first):
        for i in range(first, 5):
            made.append(i)
            time.sleep(0.02)
            yield {"a": np.full((1, 2), i)}

    def call(_):
        return cached_rows("test", 1, lambda: ("numbers", {"a": (5, 2)}, make))["a"][:, 0].tolist()

    with ThreadPoolExecutor(2) as pool:  # a lock of files keeps threads apart as it does processes
        assert list(pool.map(call, range(2))) == [[0, 1, 2, 3, 4]] * 2
    assert made == [0, 1, 2, 3, 4]


def arrays_folder(cache):
    (folder,) = cache.iterdir()
    return sorted(folder.iterdir())


@pytest.mark.parametrize("damage", ["cut", "deleted", "list"])
def test_a_cache_that_was_damaged_is_made_again_with_a_word(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_CACHE", str(tmp_path))
    make = lambda folder: [np.save(folder / f"{name}.npy", np.arange(500)) for name in "ab"]  # noqa: E731
    cached_arrays("test", 1, make)
    (folder,) = tmp_path.glob("test-*")
    if damage == "cut":
        (folder / "a.npy").write_bytes((folder / "a.npy").read_bytes()[:1000])
    elif damage == "deleted":
        (folder / "a.npy").unlink()
    else:
        (folder / "sizes.json").write_text("[1")
    with pytest.warns(UserWarning, match="is damaged; it is made again"):
        arrays = cached_arrays("test", 1, make)
    assert {name: array.tolist() for name, array in arrays.items()} == {key: list(range(500)) for key in "ab"}
    assert cached_arrays("test", 1, lambda folder: pytest.fail("made again")).keys() == {"a", "b"}


@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
def test_what_was_read_of_a_cache_leaves_the_memory_and_can_be_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTLIB_CACHE", str(tmp_path))
    values = np.random.default_rng(0).normal(size=(64, 250_000)).astype(np.float32)  # 64 MB
    array = cached_arrays("test", 1, lambda folder: np.save(folder / "a.npy", values))["a"]

    def held() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssFile"))  # MB

    before, total = held(), array.sum()
    assert held() > before + 60
    assert np.array_equal(read(array[3:5]), values[3:5])
    assert held() < before + 5
    assert np.array_equal(read(array, ([1, 1], [0, 7])), values[[1, 1], [0, 7]])
    assert np.array_equal(read(values, [2, 0]), values[[2, 0]])  # an array in memory is read as well
    assert array.sum() == total
