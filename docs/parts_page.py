"""``python docs/parts_page.py TARGET``: the page "Parts in the browser" as a folder for any web server.

The page itself lies in docs/parts. What is made here: the shipped models and mask networks as ONNX, of which all share
one encoder, examples drawn by partlib, and models.json, which says where everything is.
"""

import argparse
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from partlib.cli.export import graph, pieces, require_packages, save
from partlib.data import birds
from partlib.data.reading import LARGE, MAX_PIXELS
from partlib.errors import ConfigError
from partlib.masks import boxes
from partlib.masks.found import GROW, network_of
from partlib.paths import claim, write_atomically
from partlib.report.inference import MARGIN
from partlib.report.plots import PART_COLORS
from partlib.runs.checkpoint import load_pretrained, write_json

HERE = Path(__file__).resolve().parent
RUNTIME = "vendor/ort-wasm-simd-threaded.wasm.gz"
KINDS = {  # the data set whose mask network goes with the models -> what a visitor calls it, and the models' name
    "cub": ("A bird, photographed", "cub"),
    "birds": ("A bird, drawn", "birds"),
    "ccp": ("A person, from head to foot", "photographs"),
}
PARTS = (4, 8)
EXAMPLES = (4, 10, 3, 13)  # numbers of drawn birds of the test split; of the last the tail is missed
EXAMPLE_SIZE = 512  # pixels
PEOPLE = [  # of the test split, reduced
    {"file": f"examples/ccp-{number}.jpg", "kind": "ccp", "title": "a person, photographed"}
    for number in ("0080", "0138")
]


def build(target: Path) -> None:
    """Write the page into a folder that is new, empty, or holds an earlier one: some 12 MB, in about half a minute."""
    require_packages()
    claim(target, "models.json")
    shutil.copytree(HERE / "parts", target, dirs_exist_ok=True)
    manifest: dict[str, Any] = {
        "colors": PART_COLORS[: max(PARTS)],
        "large": LARGE,  # pixels; a larger picture is reduced
        "most_pixels": MAX_PIXELS,  # of which more are refused
        "margin": MARGIN,  # around the object, for the segmenter
        "mask": {"side": boxes.SIDE, "margin": boxes.MARGIN, "grow": GROW},
        "runtime": {"file": RUNTIME, "bytes": (target / RUNTIME).stat().st_size},
        "kinds": [],
    }

    def write(file: str, piece: Any) -> dict[str, Any]:
        return {"file": file, "bytes": save(graph(piece), target / file)}

    for data, (title, models) in KINDS.items():
        network, kind = network_of(data), {"name": data, "title": title, "models": {}}
        for number in PARTS:
            segmenter, config = load_pretrained(f"{models}-k{number}")
            found = pieces(segmenter, network, config.image_size)
            if "mask-encoder.onnx" in found:  # of which the page knows nothing
                raise ConfigError(f"{models}-k{number} has an encoder of its own; the page needs the shared one")
            if "encoder" not in manifest:
                manifest["encoder"] = write("encoder.onnx", found["encoder.onnx"])
            if "mask" not in kind:
                kind["mask"] = write(f"masks/{data}.onnx", found["mask.onnx"])
            about = {"name": f"{models}-k{number}", "size": config.image_size}
            kind["models"][number] = about | write(f"models/{models}-k{number}.onnx", found["decoder.onnx"])
        manifest["kinds"].append(kind)
    manifest["examples"] = [_example(target, number) for number in EXAMPLES] + PEOPLE
    write_json(target / "models.json", manifest)


def _example(target: Path, number: int) -> dict[str, str]:
    """Draw a bird into the folder of the examples, and what models.json says of it."""
    drawn = birds.load("test", None, EXAMPLE_SIZE, max(EXAMPLES) + 1)
    picture, file = Image.fromarray(drawn.images[number]), f"examples/bird-{number}.jpg"
    write_atomically(target / file, partial(picture.save, quality=88))
    return {"file": file, "kind": "birds", "title": f"{drawn.label_names[drawn.labels[number]]}, drawn"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="folder for the page")
    folder = parser.parse_args().target
    build(folder)
    print(f"the page is in {folder}; to look at it: python -m http.server --directory {folder}")
