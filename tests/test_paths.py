"""The one writer and the one cache: files and folders are there whole or not at all, arrays are computed once."""

import numpy as np
import pytest

from partlib.paths import cached_arrays, write_atomically


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
    assert list(tmp_path.iterdir()) == []
    for seed, expected in ((1, 1.0), (1, 1.0), (2, 2.0)):
        arrays = cached_arrays("test", {"seed": seed}, make(seed))
        assert isinstance(arrays["a"], np.memmap)
        assert (list(arrays), arrays["a"].tolist()) == (["a", "b"], [expected] * 3)
    assert calls == [0, 1, 2]
    assert len(list(tmp_path.glob("test-*"))) == 2
