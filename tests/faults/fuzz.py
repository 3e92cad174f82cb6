"""``python -m tests.faults.fuzz --seconds 600``: damaged files and odd words for the command line, for a while.

Every try makes one command and one thing that is wrong with what it reads, both drawn from a seed that is printed when
something is found: an exception that reaches the user, more than one line of error, a hang, or memory beyond a limit.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from partlib.cli import main
from partlib.data import cub, load_dataset
from tests.export import export_cub, export_deepfashion, export_folder, export_pascal_part

LONGEST = 60  # seconds of a command, after which it hangs
MEMORY = 4 << 30  # bytes that a command may ask for beyond what the process has before the first
SMALL = {"image-size": 32, "feature-size": 32, "batch-size": 4, "steps": 4, "starts": 1, "log-every": 1}
TINY = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
Random = np.random.Generator


class Found(Exception):
    """A command did not end as it should."""


# --- what can be wrong with a file -----------------------------------------------------------------------------------


def damaged(content: bytes, rng: Random) -> bytes:
    """Bytes as a bad disk, a broken copy or somebody with bad intentions leaves them."""
    data = bytearray(content or b"x")
    size = len(data)
    kind = rng.integers(9)
    if kind == 0:  # cut short
        return bytes(data[: rng.integers(size)])
    if kind == 1:  # some bytes
        for _ in range(rng.integers(1, 20)):
            data[rng.integers(size)] = rng.integers(256)
        return bytes(data)
    if kind == 2:  # some bytes at the head, where formats keep their sizes
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(min(200, size))] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        return bytes(data)
    if kind == 3:  # a hole
        start = rng.integers(size)
        data[start : start + rng.integers(1, 5000)] = bytes(rng.integers(0, 5000))
        return bytes(data)
    if kind == 4:  # something behind it
        return bytes(data) + rng.bytes(rng.integers(1, 2000))
    if kind == 5:
        return b""
    if kind == 6:  # something else
        return rng.choice([b"null", b"7", b"{}", b"\xff\xfe\x00", b"hello", b"\x80\x04N.", b"PK\x05\x06" + bytes(18)])
    if kind == 7:  # two ends exchanged
        half = rng.integers(size)
        return bytes(data[half:] + data[:half])
    return rng.bytes(rng.integers(1, 3000))


def text_damaged(text: str, rng: Random) -> str:
    """A list with a line too few, too many, changed, or with a value that makes no sense."""
    lines = text.splitlines() or [""]
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(lines)))
        kind = rng.integers(6)
        words = lines[place].split(" ")
        if kind == 0 and len(lines) > 1:
            del lines[place]
        elif kind == 1:
            lines.insert(place, lines[rng.integers(len(lines))])
        elif kind == 2:
            words[rng.integers(len(words))] = str(rng.choice(WORDS))
            lines[place] = " ".join(words)
        elif kind == 3:
            lines[place] = lines[place][: rng.integers(len(lines[place]) + 1)]
        elif kind == 4:
            lines[place] = "".join(rng.permutation(list(lines[place])))
        else:
            lines.insert(place, "")
    return "\n".join(lines) + "\n"


WORDS = ["nan", "inf", "-1", "0", "1e300", "99999999999999999999", "x", "", "é", "../..", "null", "true", "-", "1.5"]


def odd_image(rng: Random) -> Image.Image:
    """An image of any mode and size, as scanners, telephones and drawing programs make them."""
    height, width = (int(rng.choice([1, 2, 3, 17, 64, 400])) for _ in range(2))
    kind = rng.integers(9)
    colors = rng.integers(0, 256, (height, width, 4), np.uint8)
    if kind < 4:
        return Image.fromarray(colors).convert(
            rng.choice(["L", "RGB", "CMYK", "1", "P", "RGBA", "LA", "YCbCr", "LAB"][:8])
        )
    if kind == 4:
        return Image.fromarray(rng.integers(0, 65536, (height, width), np.uint16))
    if kind == 5:
        return Image.fromarray(rng.normal(0, 1e6, (height, width)).astype(np.float32))
    if kind == 6:
        image = Image.fromarray(rng.integers(0, 8, (height, width), np.uint8), "P")
        image.putpalette(rng.bytes(3 * int(rng.integers(1, 9))))
        return image
    if kind == 7:
        return Image.fromarray((colors[..., 0] > 200).astype(np.uint8) * int(rng.choice([1, 7, 255])))
    return Image.fromarray(rng.integers(-5, 5, (height, width), np.int32))


def write_odd(path: Path, rng: Random) -> None:
    """An odd image in any format, under a name that may say another one."""
    image, form = odd_image(rng), str(rng.choice(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO"]))
    exif = Image.Exif()
    exif[0x0112] = int(rng.integers(0, 12))
    try:
        image.save(path, format=form, **({"exif": exif} if form in ("PNG", "JPEG", "WEBP") else {}))
    except (OSError, ValueError, KeyError):  # not every format takes every mode
        image.convert("RGB").save(path, format="PNG", exif=exif)


def model_changed(content: bytes, rng: Random) -> bytes:
    """A safetensors file whose header says something else."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    kind = rng.integers(4)
    if kind == 0:
        config = json.loads(header["__metadata__"]["config"])
        config[str(rng.choice(list(config)))] = value(rng)
        header["__metadata__"]["config"] = json.dumps(config)
    elif kind == 1:
        header["__metadata__"]["config"] = str(
            rng.choice(["null", "7", "[]", "{}", "{", '{"num_parts": 1000000000}', '""'])
        )
    elif kind == 2:
        name = str(rng.choice([key for key in header if key != "__metadata__"]))
        header[name][str(rng.choice(["dtype", "shape", "data_offsets"]))] = value(rng)
    else:
        names = [key for key in header if key != "__metadata__"]
        header[f"{rng.choice(names)}.x"] = header.pop(str(rng.choice(names)))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def value(rng: Random) -> Any:
    """What may stand in JSON."""
    values = [
        None,
        True,
        -1,
        0,
        10**9,
        2**70,
        1.5,
        float("nan"),
        float("inf"),
        "",
        "x",
        [],
        [1, -2],
        [10**9] * 2,
        {},
        {"a": 1},
    ]
    return values[rng.integers(len(values))]


# --- the commands ----------------------------------------------------------------------------------------------------


class World:
    """Good files of every kind, made once, and a folder that is made anew for every try."""

    def __init__(self, folder: Path) -> None:
        self.good, self.now = folder / "good", folder / "now"
        os.environ |= {
            "PARTLIB_CACHE": str(folder / "cache"),
            "PARTLIB_RUNS": str(folder / "runs"),
            "TQDM_DISABLE": "1",
        }
        sets = [
            load_dataset("birds", split, None, 32, num_images=number) for split, number in (("train", 12), ("test", 8))
        ]
        export_folder(sets, self.good / "folder")
        export_cub(sets, self.good / "cub")
        export_pascal_part(sets, self.good / "pascal-part")
        export_deepfashion(sets, self.good / "deepfashion")
        self.photo = sorted((self.good / "folder" / "images").iterdir())[0]
        self.mask = self.good / "folder" / "masks" / f"{self.photo.stem}.png"
        run = ["--data", "folder", "--root", str(self.good / "folder"), "--out", str(self.good / "run")]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert main(["train", *run, *TINY, "--eval-every", "0"]) == 0

    def fresh(self) -> Path:
        shutil.rmtree(self.now, ignore_errors=True)
        self.now.mkdir()
        return self.now


def segment_photo(world: World, rng: Random) -> list[str]:
    here = world.fresh()
    path = here / f"photo.{rng.choice(['jpg', 'png', 'heic', 'gif', 'tif', 'webp', 'avif'])}"
    if rng.integers(2):
        path.write_bytes(damaged(world.photo.read_bytes(), rng))
    else:
        write_odd(path, rng)
    more = [[], ["--whole-picture"], ["--mask", str(world.mask)]][rng.integers(3)]
    good = [str(world.photo)] * int(rng.integers(2)) if not more else []
    return [
        "segment",
        str(path),
        *good,
        "--model",
        str(world.good / "run"),
        "--network",
        "birds",
        "--out",
        str(here / "o"),
        *more,
    ]


def segment_mask(world: World, rng: Random) -> list[str]:
    here = world.fresh()
    if rng.integers(2):
        (here / "mask.png").write_bytes(damaged(world.mask.read_bytes(), rng))
    else:
        write_odd(here / "mask.png", rng)
    run = str(world.good / "run")
    return ["segment", run, str(world.photo), "--mask", str(here / "mask.png"), "--out", str(here / "o")]


def model(world: World, rng: Random) -> list[str]:
    here = world.fresh()
    content = (world.good / "run" / "model.safetensors").read_bytes()
    change = damaged if rng.integers(2) else model_changed
    (here / "model.safetensors").write_bytes(change(content, rng))
    run = str(here / "model.safetensors")
    if rng.integers(2):
        return ["evaluate", run, "--data", "folder", "--root", str(world.good / "folder"), "--split", "val"]
    return ["segment", run, str(world.photo), "--whole-picture", "--out", str(here / "o")]


def mask_network(world: World, rng: Random) -> list[str]:
    here = world.fresh()
    from partlib.masks.found import shipped

    (here / "network.safetensors").write_bytes(damaged(shipped()["birds"].read_bytes(), rng))
    network = ["--network", str(here / "network.safetensors")]
    if rng.integers(2):
        return ["masks", "--data", "folder", "--root", str(world.good / "folder"), "--out", str(here / "o"), *network]
    return ["segment", str(world.good / "run"), str(world.photo), *network, "--out", str(here / "o")]


def resumed(world: World, rng: Random) -> list[str]:
    here = world.fresh()
    shutil.copytree(world.good / "run", here / "run")
    name = str(rng.choice(["checkpoint.pt", "checkpoint.pt", "config.json", "log.csv", "model.safetensors"]))
    (here / "run" / name).write_bytes(damaged((here / "run" / name).read_bytes(), rng))
    words = [
        "--data",
        "folder",
        "--root",
        str(world.good / "folder"),
        "--out",
        str(here / "run"),
        *TINY,
        "--eval-every",
        "0",
    ]
    return ["train", *words, *(["--resume"] * int(rng.integers(4) > 0))]


def options(world: World, rng: Random) -> list[str]:
    here = world.fresh()
    words = ["train", "--data", "folder", "--root", str(world.good / "folder"), "--out", str(here / "run"), *TINY]
    names = [
        "num-parts",
        "seed",
        "lr",
        "backbone-lr",
        "temperature",
        "views",
        "loss-size",
        "trial-steps",
        "arch",
        "select-by",
    ]
    names += [
        "lambda-feature",
        "lambda-visual",
        "lambda-contrastive",
        "lambda-equivariance",
        "lambda-visual-end",
        "quirks",
    ]
    names += [
        "feature-layers",
        "feature-network",
        "preset",
        "num-images",
        "data-options",
        "precision",
        "device",
        "eval-every",
    ]
    names += [
        "steps",
        "image-size",
        "feature-size",
        "batch-size",
        "starts",
        "workers",
        "feature-cache-gb",
        "checkpoint-every",
    ]
    for name in rng.choice(names, int(rng.integers(1, 3)), replace=False):
        texts = [w for w in WORDS if w] + ["2", "3", "stride8", "birds", "margin=2", "masks=/nowhere", "val_fraction=x"]
        words += [f"--{name}", str(rng.choice(texts))]
    return words


def of_folder(world: World, rng: Random) -> list[str]:
    here = world.fresh()
    root = shutil.copytree(world.good / "folder", here / "folder")
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(6)
        path = Path(str(rng.choice([str(p) for p in sorted(root.rglob("*")) if p.is_file()])))
        if path.suffix == ".txt":
            path.write_text(text_damaged(path.read_text(), rng))
        elif kind == 0:
            path.write_bytes(damaged(path.read_bytes(), rng))
        elif kind == 1:
            write_odd(path, rng)
        elif kind == 2:
            path.unlink()
        elif kind == 3:
            path.rename(
                path.with_name(
                    str(rng.choice(["é", "e\u0301", "a b", "-x", "x" * 200, "NUL", "%s", "ü\t"])) + path.suffix
                )
            )
        elif kind == 4:
            shutil.copy(path, path.with_suffix(str(rng.choice([".gif", ".TXT", "", ".jpeg", ".tar.gz"]))))
        else:
            path.unlink()
            path.mkdir()
    if rng.integers(6) == 0:
        shutil.rmtree(root / str(rng.choice(["images", "masks", "parts"])))
    where = ["--root", str(root)]
    return [
        ["data", "info", "folder", *where],
        ["masks", "--data", "folder", *where, "--network", "birds", "--out", str(here / "o")],
    ][int(rng.integers(5) == 0)]


def of_lists(world: World, rng: Random) -> list[str]:
    here, name = world.fresh(), str(rng.choice(["cub", "cub", "pascal-part", "deepfashion"]))
    root = shutil.copytree(world.good / name, here / name)
    files = [str(p) for p in sorted(root.rglob("*")) if p.is_file()]
    lists = [file for file in files if not file.endswith((".jpg", ".png"))]
    for _ in range(rng.integers(1, 3)):
        path = Path(str(rng.choice(lists if rng.integers(4) else files)))
        if path.suffix in (".txt", ".json") and rng.integers(4):
            path.write_text(text_damaged(path.read_text(), rng))
        else:
            path.write_bytes(damaged(path.read_bytes(), rng))
    more = ["--data-options", "category=bird"] if name == "pascal-part" else []
    return ["data", "info", name, "--root", str(root), "--image-size", "32", *more]


def scored(world: World, rng: Random) -> list[str]:
    here = world.fresh()
    masks = shutil.copytree(world.good / "folder" / "masks", here / "masks")
    for path in rng.choice([str(p) for p in sorted(masks.iterdir())], 3):
        Path(path).write_bytes(damaged(Path(path).read_bytes(), rng))
    run, root = str(world.good / "run"), str(world.good / "folder")
    return ["evaluate", run, "--data", "folder", "--root", root, "--protocol", "pixels", "--masks", str(masks)]


def converted(world: World, rng: Random) -> list[str]:
    here = world.fresh()
    (here / "model.pth").write_bytes(damaged((world.good / "run" / "checkpoint.pt").read_bytes(), rng))
    if rng.integers(2):
        return ["convert", str(here / "model.pth"), "--out", str(here / "run")]
    arch = ["--arch", f"deeplab_resnet50:{here / 'model.pth'}", "--views", "0"]
    return ["train", "--data", "folder", "--root", str(world.good / "folder"), *TINY, *arch, "--out", str(here / "run")]


def unpacked(world: World, rng: Random) -> list[str]:
    """An archive of a data set, as a broken or hostile server sends it; installed under ``data download``."""
    here, form = world.fresh(), str(rng.choice(["zip", "gztar", "tar"]))
    archive = Path(shutil.make_archive(str(here / "made"), form, world.good / "cub"))
    ending = {"zip": ".zip", "gztar": ".tgz", "tar": ".tar"}[form]
    (here / f"data{ending}").write_bytes(damaged(archive.read_bytes(), rng))
    archive.unlink()
    cub.ARCHIVES = [(f"https://nowhere.invalid/data{ending}", None, ".")]
    return ["data", "download", "cub", "--root", str(here / "data")]


def line(world: World, rng: Random) -> list[str]:
    here = world.fresh()
    commands = [
        "evaluate",
        "masks",
        "foreground",
        "segment",
        "convert",
        "data",
        "info",
        "download",
        "--help",
        "--version",
    ]
    words = [*commands, "--model", "--out", str(here / "o"), "--data", "folder", "cub", "--root", str(here), "--mask"]
    words += [
        str(world.photo),
        str(world.good / "run"),
        "birds-k4",
        "--split",
        "test",
        "--json",
        "--splits",
        "val",
        "--",
        "-x",
    ]
    words += [*WORDS, str(here / "x.png"), "--overwrite", "--whole-picture", "--device", "cpu", "--network", "birds"]
    return [str(word) for word in rng.choice(words, int(rng.integers(0, 7)))]


TRIES: list[Callable[[World, Random], list[str]]] = [
    *(
        segment_photo,
        segment_mask,
        model,
        mask_network,
        resumed,
        options,
        of_folder,
        of_lists,
        scored,
        converted,
        unpacked,
        line,
    ),
]


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder for a while (contextlib.chdir, which Python 3.10 does not have)."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def attempt(world: World, seed: int) -> tuple[str, int]:
    """One command; its kind and exit code. Found where it did not end as it should."""
    rng = np.random.default_rng(seed)
    kind = TRIES[rng.integers(len(TRIES))]
    words = kind(world, rng)
    out, err = io.StringIO(), io.StringIO()

    def hangs(number: int, frame: Any) -> None:
        raise Found(f"no end after {LONGEST} s")

    before, code = signal.signal(signal.SIGALRM, hangs), None
    signal.alarm(LONGEST)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), inside(world.now):
            code = main(words)
    except SystemExit as end:  # of the parser
        code = int(end.code or 0)
    except BaseException as error:
        what = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        raise Found(f"seed {seed}, {kind.__name__}: partlib {' '.join(words)}\n{what}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    problems = list(complaints(code, err.getvalue().splitlines()))
    problems += [f"{path} is left behind" for path in world.now.rglob(".partlib-*")]
    if problems:
        raise Found(f"seed {seed}, {kind.__name__}: partlib {' '.join(words)}\n{'; '.join(problems)}\n{err.getvalue()}")
    return kind.__name__, code


def complaints(code: int | None, lines: Sequence[str]) -> Iterator[str]:
    """What is wrong with an exit code and the lines of error that came with it."""
    errors = [text for text in lines if text.startswith("partlib")]
    others = [text for text in lines if not text.startswith(("partlib", "warning: ", "masks: "))]
    if code not in (0, 1, 2):
        yield f"exit code {code}"
    if code and len(errors) != 1:
        yield f"{len(errors)} lines of error with exit code {code}"
    if not code and errors:
        yield "an error with exit code 0"
    if others:
        yield f"lines that are neither error nor warning: {others[:3]}"
    if any("\x1b" in text or "Traceback" in text for text in lines):
        yield "escape codes or a traceback"
    if any(len(text) > 3000 for text in errors):
        yield f"an error of {max(map(len, errors))} characters"


def run(seconds: float, first: int) -> tuple[Counter, list[str]]:
    """Tries for so many seconds: how often each kind ended with each code, and what was found."""
    ends: Counter = Counter()
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for warm in range(3):  # loads what the commands import
            with contextlib.suppress(Found):
                attempt(world, warm)
        used = 1024 * int(Path("/proc/self/statm").read_text().split()[0]) * 4
        limits = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, limits[1]))
        stop, seed = time.monotonic() + seconds, first
        try:
            while time.monotonic() < stop:
                try:
                    ends[attempt(world, seed)] += 1
                except Found as problem:
                    found.append(str(problem))
                seed += 1
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
    return ends, found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None, help="of the first try; by default the clock's")
    parser.add_argument("--only", action="store_true", help="this one seed alone")
    arguments = parser.parse_args()
    start = int(time.time()) * 1000 if arguments.seed is None else arguments.seed
    print(f"tries from seed {start} on, {arguments.seconds:g} seconds")
    counted, problems = run(0 if arguments.only else arguments.seconds, start)
    if arguments.only:
        with tempfile.TemporaryDirectory() as place:
            print(attempt(World(Path(place)), start))
    for (name, code), number in sorted(counted.items()):
        print(f"{name:15} exit code {code}: {number:5} times")
    print(f"{sum(counted.values())} tries ended as they should, {len(problems)} did not", *problems, sep="\n\n")
    raise SystemExit(bool(problems))
