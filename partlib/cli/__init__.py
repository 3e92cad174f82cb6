"""``partlib train | demo | evaluate | masks | foreground | segment | export | convert | course | data | info``."""

import argparse
import dataclasses
import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from partlib.cli.options import Parser, add_completion, add_config, add_fields, add_options
from partlib.config import PRESETS, QUICK, TrainConfig, default_preset
from partlib.errors import ConfigError, PartlibError
from partlib.first_edition import current_fields
from partlib.masks import MaskConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 the user's input was at fault, 130 interrupted."""
    arguments = vars(_parser().parse_args(argv))
    run, _ = arguments.pop("run"), arguments.pop("print_completion", None)
    said: set[str] = set()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may be of another encoding than the terminal
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # in a home that may not be written it says so at length

    def say(message: Any, category: Any, *where: Any) -> None:
        """A warning as one sentence, once: users do not read our source."""
        if str(message) not in said:
            said.add(str(message))
            print(f"warning: {message}", file=sys.stderr)

    shown, warnings.showwarning = warnings.showwarning, say  # type: ignore[assignment]
    try:
        run(**arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads our output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (PartlibError, OSError) as error:  # OSError: a file or folder that cannot be read or written
        print(f"partlib: {_reason(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        warnings.showwarning = shown
    return 0


def _reason(error: Exception) -> str:
    """One line: what went wrong, with which file, and what to do where that is plain."""
    remedies = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room and run it again")
    remedies |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "change its permissions, or name another place")
    remedies |= dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "a file is in the way; name another folder")
    text = str(error)
    if isinstance(error, OSError) and error.errno and error.filename:
        text = f"{error.filename}: {error.strerror}; {remedies.get(error.errno, 'name another place')}"
    return " ".join(text.split())


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="partlib", description="Unsupervised part discovery.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(run: Callable[..., None], help: str, *examples: str) -> Callable[..., Any]:
        name, raw = run.__name__.strip("_"), argparse.RawDescriptionHelpFormatter
        epilog = "example:" + "".join(f"\n  partlib {name} {example}" for example in examples)
        sub = commands.add_parser(name, help=help, description=help, epilog=epilog, formatter_class=raw)
        sub.set_defaults(run=run)
        return sub.add_argument

    several = "... in two processes: torchrun --nproc_per_node=2 -m partlib train ..."
    add = command(_train, "train a part segmenter", "--data birds --out runs/birds", several)
    add_config(add)
    add("--out", type=Path, required=True, help="folder of the run")
    add("--resume", action="store_true", help="go on with the run in --out")
    # these change the speed, and the result by rounding only
    add("--precision", default="auto", help="float32, bfloat16 or auto: bfloat16 on GPUs that have it")
    add("--compile", action="store_true", help="compile the network (minutes at the start; for GPUs)")
    add("--workers", type=int, help="processes that read images ahead (default 0, with a GPU 4)")
    add("--feature-cache-gb", type=float, default=20.0, help="largest feature cache (default 20)")

    add = command(_demo, "train, score beside every baseline, draw the parts", "--out runs/demo", "--quick")
    add_config(add)
    add("--quick", action="store_true", help="in about half the time, parts that are a little worse")
    add("--out", type=Path, default=Path("runs/demo"), help="folder of the run (default runs/demo)")

    paper = "runs/cub --protocol cub --masks runs/foreground/masks"
    add = command(_evaluate, "score a run on a data set", "runs/birds --baselines --json scores.json", paper)
    add("directory", type=Path, help="folder of a run, a model.safetensors, or the name of a shipped model")
    add("--data", default="", help="data set; by default the one of the run")
    add("--split", default="test", help="train, val or test (default test)")
    add_options(add)
    add("--baselines", action="store_true", help="score every baseline too")
    add("--json", type=Path, help="write the scores to this file")
    add("--picture", type=Path, help="write a grid of example segmentations to this PNG")
    add("--overwrite", action="store_true", help="replace --json and --picture where they are there already")
    add("--protocol", default="", help="score as the paper: cub, deepfashion, pascal-part or pixels")
    add("--masks", type=Path, help="score with these predicted masks too (see partlib foreground)")
    add("--reproduce-release", action="store_true", help="with the conventions of the authors' release")

    add = command(_masks, "make masks of objects from their boxes alone", "--data cub")
    add("--data", default="cub", help="cub, or folder: photographs without boxes (default cub)")
    add("--root", type=Path, help="folder of the data set, where it is not the default")
    text = "folder for masks/, the network, a report and a contact sheet (default runs/masks/DATA)"
    add("--out", type=Path, help=text)
    text = f"photographs, spread evenly, that the network learns from (default {MaskConfig.examples})"
    add("--examples", type=int, default=MaskConfig.examples, help=text)
    add("--network", default="", help="a shipped mask network's name, or the file of one, instead of learning one")

    add = command(_foreground, "predict masks for test images, from the training masks", "--data cub --out runs/masks")
    add_fields(add, MaskConfig)
    add("--out", type=Path, required=True, help="folder for the network, its scores and masks/")
    add("--splits", nargs="+", default=["test"], help="splits to write masks for (default test)")
    add("--device", default="auto", help="auto, cpu or cuda")

    add = command(_segment, "segment your own photographs", "--model photographs-k4 photo.jpg --mask mask.png")
    add("images", type=Path, nargs="+", help="photographs")
    add("--model", help="a run's folder, a model.safetensors, or a shipped model's name (default: the first word)")
    add("--mask", type=Path, nargs="*", default=[], help="one binary mask per photograph, same order")
    add("--network", default="", help="mask network, by name or file, that looks for the object (default: the model's)")
    add("--whole-picture", action="store_true", help="the object is the whole picture; else it is looked for")
    add("--out", type=Path, default=Path("segmented"), help="folder for overlays and label maps (default segmented)")
    add("--overwrite", action="store_true", help="replace files of these names that are there already")

    add = command(_export, "write a model as ONNX, to run without Python", "birds-k4 --out onnx/birds-k4")
    add("model", help="a run's folder, a model.safetensors, or a shipped model's name")
    add("--out", type=Path, required=True, help="folder for encoder.onnx, decoder.onnx, mask.onnx and model.json")
    add("--network", default="", help="mask network, by name or file, or none (default: the model's)")
    add("--float32", action="store_true", help="weights as float32; by default as float16, half the size")
    add("--overwrite", action="store_true", help="replace an export that is there already")

    add = command(_convert, "make a run of a checkpoint of the authors' release", "model.pth --out runs/release")
    add("checkpoint", type=Path, help="file that the release saved (model_state_dict)")
    add("--data", default="cub", help="data set that it was trained on (default cub)")
    add("--root", default="", help="folder of the data set, where it is not the default")
    add("--out", type=Path, required=True, help="folder of the run")

    add = command(_course, "copy the course's notebooks into a folder and open JupyterLab", "", "my-course --no-lab")
    text = "folder, new or empty, or an earlier copy, which is opened as it is (default partlib-course)"
    add("folder", type=Path, nargs="?", default=Path("partlib-course"), help=text)
    add("--no-lab", action="store_true", help="copy, and open nothing")

    add = command(_data, "describe or download a data set", "info birds", "download ccp")
    add("action", choices=("info", "download"), help="say what is known of it, or fetch its files")
    add("name", help="name of the data set")
    add_options(add)
    add("--image-size", type=int, default=128, help="side of the prepared images in pixels")

    command(_info, "versions, device, presets and data sets", "")
    add_completion(parser)
    return parser


def _config(preset: str, reproduce_release: bool, **options: Any) -> tuple[TrainConfig, Any]:
    """The configuration that the options ask for, and its recipe."""
    from partlib.paper.release import recipe_of, release_config

    known = {f.name for f in dataclasses.fields(TrainConfig)}
    new = {name: value for name, value in options.items() if name in known and value is not None}
    old = {name: value for name, value in options.items() if name not in known and value is not None}
    config = TrainConfig.preset(preset or default_preset(new.get("data", TrainConfig.data)), **new)
    config = TrainConfig.from_dict(current_fields(config.to_dict() | old))
    config = release_config(config) if reproduce_release else config
    return config, recipe_of(config)


# The commands import what they need when they run: --help should not wait for torch.


def _train(out: Path, resume: bool, device: str, **options: Any) -> None:
    from partlib import distributed
    from partlib.runs import train
    from partlib.runs.build import Runtime

    runtime = Runtime(*(options.pop(name) for name in ("precision", "compile", "workers", "feature_cache_gb")))
    config, recipe = _config(**options)
    if resume and not (out / "checkpoint.pt").exists():
        raise ConfigError(f"--resume: {out} holds no run; check the name, or leave --resume out to begin one")
    with distributed.processes(device):
        result = train(config, out, resume=resume, device=device, runtime=runtime, recipe=recipe)
        if distributed.rank() == 0:
            print(f"model, log and configuration are in {result.out}")


def _demo(out: Path, device: str, quick: bool, **options: Any) -> None:
    from partlib.report.tables import demo

    given = {name: value for name, value in options.items() if value is not None}
    config, recipe = _config(**({**QUICK, **given} if quick else options))
    demo(config, out, device, recipe)


def _evaluate(
    directory: Path, json: Path | None, picture: Path | None, overwrite: bool, baselines: bool, **options: Any
) -> None:
    from partlib.paper import protocols as paper
    from partlib.paper.release import recipe_of
    from partlib.report import tables
    from partlib.runs.checkpoint import load_model, write_json

    for file in (json, picture):
        if file is not None and file.exists() and not overwrite:
            raise ConfigError(f"{file} is there already; pass --overwrite to replace it, or another name")
    segmenter, config = load_model(directory)
    there = paper.on_data(config, options["data"], options["root"], options["data_options"])
    split, protocol, masks, release = (options[k] for k in ("split", "protocol", "masks", "reproduce_release"))
    if protocol or masks or release:
        if baselines or picture:
            odd = "--baselines" if baselines else "--picture"
            raise ConfigError(f"{odd} does not go with --protocol, --masks or --reproduce-release; drop one of them")
        metrics = paper.evaluate(segmenter, there, protocol, split=split, masks=masks, reproduce_release=release)
        print(paper.table(metrics))
    else:
        dataset = recipe_of(there)(there).dataset(split, fixed_crop=True)
        evaluation = tables.evaluate(segmenter, config, dataset, with_baselines=baselines, recipe=recipe_of(config))
        metrics = evaluation.metrics
        print(tables.table(metrics))
        if picture:
            tables.picture(evaluation, dataset, picture)
    if json:
        write_json(json, metrics)


def _masks(data: str, root: Path | None, out: Path | None, examples: int, network: str) -> None:
    from partlib.masks.derived import derive
    from partlib.masks.found import network_of
    from partlib.paths import masks_dir

    out = out or masks_dir(data)
    report = derive(data, root, out, examples, network_of(network) if network else None)
    print(f"{report['photographs']} masks are in {out / 'masks'}; look at {out / 'contact.png'}")


def _foreground(out: Path, splits: list[str], device: str, **options: Any) -> None:
    from partlib.masks.network import foreground

    config = MaskConfig(**{name: value for name, value in options.items() if value is not None})
    scores = foreground(config, out, splits, device)
    listed = ", ".join(f"{split} {value:.1f}%" for split, value in scores.items())
    print(f"mean intersection over union with the annotated masks: {listed}\nmasks are in {out / 'masks'}")


def _segment(
    model: str | None,
    images: list[Path],
    mask: list[Path],
    network: str,
    out: Path,
    whole_picture: bool,
    overwrite: bool,
) -> None:
    from partlib.report.inference import segment_files

    def finder(config: TrainConfig) -> Callable[[Any], Any]:
        from partlib.masks.found import find, network_of

        name = network or config.data
        print(f"masks: found by the network for {name}; or give --mask, or --whole-picture", file=sys.stderr)
        return partial(find, network_of(name))

    if model is None:  # `partlib segment runs/birds photo.jpg`
        model, *images = images  # type: ignore[assignment]
    if not images:
        raise ConfigError(f"{model}: no photograph is given; expected partlib segment --model MODEL PHOTO ...")
    print(*segment_files(str(model), images, mask, out, None if whole_picture else finder, overwrite), sep="\n")


def _export(model: str, out: Path, network: str, float32: bool, overwrite: bool) -> None:
    from partlib.cli.export import described, export

    print(*described(export(model, out, network, not float32, overwrite), out), sep="\n")


def _convert(checkpoint: Path, out: Path, data: str, root: str) -> None:
    from partlib.paper.checkpoint import convert_release_checkpoint

    print(convert_release_checkpoint(checkpoint, out, data, root), f"model and configuration are in {out}", sep="\n")


def _course(folder: Path, no_lab: bool) -> None:
    from partlib.report.course import copy_course, open_lab

    print(f"the course is in {copy_course(folder)}; begin with 00_start_here.ipynb")
    if not no_lab:
        open_lab(folder)


def _data(action: str, name: str, root: str, data_options: list[str], image_size: int) -> None:
    from partlib.data import describe, download, read_options

    place = Path(root) if root else None
    if action == "download":
        print(f"{name} is in {download(name, place)}")
    else:
        print(describe(name, place, image_size, **read_options(name, data_options)))


def _info() -> None:
    from partlib.data import DATASETS
    from partlib.report.tables import environment
    from partlib.runs.checkpoint import model_card, pretrained

    for key, value in {**environment(), "presets": ", ".join(PRESETS), "data sets": ", ".join(DATASETS)}.items():
        print(f"{key:12} {value}")
    for name, path in pretrained().items():
        print("{:12} {}: {scores}; {licence}".format("model", name, **model_card(path)))
