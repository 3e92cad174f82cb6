"""Files of others: damaged, hostile, or of another kind. One line that names the file, and nothing of it is run."""

import os
import pickle
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from partlib.cli import main
from partlib.data.fetch import check_unpacked
from partlib.errors import CheckpointError, DataError
from partlib.masks.found import network_of
from partlib.masks.network import MaskNetwork
from partlib.runs.checkpoint import load_checkpoint
from tests.data.conftest import refused
from tests.faults.fuzz import run

SMALL = [
    "--views",
    "0",
    "--image-size",
    "32",
    "--feature-size",
    "32",
    "--batch-size",
    "4",
    "--steps",
    "1",
    "--starts",
    "1",
]


class Hostile:
    """Makes a file where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("was-run",)


def test_the_command_line_survives_damaged_files_and_odd_words():
    """A minute of it; ``make fuzz`` takes ten."""
    seed = int(os.environ.get("PARTLIB_FUZZ_SEED", "1"))
    ends, found = run(60, seed)
    print(f"{sum(ends.values())} tries from seed {seed} on")
    assert found == []
    assert sum(ends.values()) > 60
    assert {code for _, code in ends} == {0, 1, 2}
    assert {kind for kind, code in ends if code == 1} > {
        "model",
        "segment_photo",
        "segment_mask",
        "of_folder",
        "of_lists",
    }


def test_a_flipped_bit_in_a_checkpoint_is_noticed(demo_run, tmp_path):
    content = bytearray((demo_run / "checkpoint.pt").read_bytes())
    load_checkpoint(demo_run / "checkpoint.pt")
    content[len(content) // 2] ^= 1
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint.pt cannot be read; delete it"):
        load_checkpoint(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(pickle.dumps(Hostile())), "holds Python objects, which are never loaded"),
        (lambda path: torch.save({"w": Hostile()}, path), "holds Python objects, which are never loaded"),
        (lambda path: torch.save({"conv1.weight": torch.zeros(3)}, path), "is of another network: conv1.weight is"),
        (lambda path: torch.save([1, 2], path), "holds other things than named tensors"),
        (lambda path: path.write_text("hello"), "cannot be read"),
    ],
)
def test_weights_that_do_not_fit_are_a_short_line_and_never_run(
    write, message, bird_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "weights.pth")
    words = ["train", "--data", "folder", "--root", str(bird_folder), "--out", str(tmp_path / "run"), *SMALL]
    assert main([*words, "--arch", f"deeplab_resnet50:{tmp_path / 'weights.pth'}"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("partlib: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "weights.pth" in lines[0]
    assert len(lines[0]) < 400 + len(str(tmp_path))
    assert "\x1b" not in lines[0]
    assert not (tmp_path / "was-run").exists()


def test_a_mask_network_of_no_numbers_is_refused(tmp_path):
    network = MaskNetwork("random")
    torch.nn.init.constant_(next(network.decoder.parameters()), float("nan"))
    network.save(tmp_path / "network.safetensors", {})
    with pytest.raises(CheckpointError, match=r"network.safetensors: its weights are not finite"):
        network_of(str(tmp_path / "network.safetensors"))


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_an_archive_that_unpacks_to_far_more_than_it_weighs_is_refused(kind, tmp_path):
    path, zeros = tmp_path / f"bomb.{kind}", tmp_path / "zeros"
    zeros.write_bytes(bytes(40_000_000))
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(zeros, "zeros")
    else:
        with tarfile.open(path, "w:gz") as archive:
            archive.add(zeros, "zeros")
    with pytest.raises(DataError, match=rf"bomb.{kind}: unpacks to more than .* GB, 50 times its size"):
        check_unpacked(path)
    noise = tmp_path / "noise"
    noise.write_bytes(os.urandom(20_000))
    with zipfile.ZipFile(tmp_path / "fine.zip", "w") as archive:
        archive.write(noise, "noise")
    check_unpacked(tmp_path / "fine.zip")


def test_a_parts_file_of_another_encoding_is_named(bird_folder, tmp_path):
    import shutil

    from partlib.data import load_dataset

    root = shutil.copytree(bird_folder, tmp_path / "folder")
    (root / "parts.txt").write_bytes(b"t\xeate\n")
    with refused("parts.txt: is not a text in UTF-8"):
        load_dataset("folder", "train", root, 32)


# --- machines --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_home_that_may_not_be_written_names_of_other_encodings_and_a_reader_that_has_enough(demo_run, tmp_path):
    """In a new process, as these are settings of one: not a word of it but the result."""
    name = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / name)
    strange = {"HOME": "/proc/1/nowhere", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    environment = {key: value for key, value in os.environ.items() if key != "MPLCONFIGDIR"} | strange
    command = [sys.executable, "-m", "partlib", "segment", str(demo_run), name, "--whole-picture"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "segmented/caf\\udce9-parts.png\nsegmented/caf\\udce9-overlay.png\n"
    assert len(list((tmp_path / "segmented").iterdir())) == 2
    reader, writer = os.pipe()
    os.close(reader)
    told = subprocess.run([sys.executable, "-m", "partlib", "info"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert told.stderr == ""


@pytest.mark.slow
def test_a_hundred_megapixels_take_less_than_two_gigabytes(demo_run, tmp_path):
    """With its mask, and labels at its own size."""
    height, width = 8200, 12200
    row = (np.arange(width) % 256).astype(np.uint8)
    photo = np.broadcast_to(row[None, :, None], (height, width, 3))
    Image.fromarray(np.ascontiguousarray(photo)).save(tmp_path / "large.jpg")
    mask = np.zeros((height, width), bool)
    mask[1000:7000, 2000:9000] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    # not getrusage, whose peak is that of the process that started this one, where that is higher
    code = "import re, sys; from partlib.cli import main; code = main(sys.argv[1:]);"
    code += "print(code, re.search('VmHWM: *(.*) kB', open('/proc/self/status').read())[1])"
    words = ["segment", str(demo_run), "large.jpg", "--mask", "mask.png"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    exit_code, kilobytes = done.stdout.splitlines()[-1].split()
    assert (exit_code, done.stderr) == ("0", "")
    assert int(kilobytes) < 2_000_000
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    with Image.open(tmp_path / "segmented" / "large-parts.png") as parts:
        assert np.array_equal(np.asarray(parts) > 0, mask)
    Image.MAX_IMAGE_PIXELS = limit
