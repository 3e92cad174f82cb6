"""``partlib train | demo | evaluate | foreground | segment | convert | data | info``."""

import argparse
import ast
import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from partlib.config import BY_DATA, PRESETS, TrainConfig, default_preset
from partlib.errors import ConfigError, PartlibError
from partlib.masks.config import MaskConfig
from partlib.runs.first_edition import GONE, RENAMED, current_fields


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 the user's input was at fault, 130 interrupted."""
    arguments = vars(_parser().parse_args(argv))
    run = arguments.pop("run")
    try:
        run(**arguments)
    except (PartlibError, OSError) as error:  # OSError: a file or folder that cannot be read or written; it is named
        print(f"partlib: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line; the usage of ``train`` alone would fill the screen."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="partlib", description="Unsupervised part discovery.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(run: Callable[..., None], help: str, *examples: str) -> argparse.ArgumentParser:
        name = run.__name__.strip("_")
        epilog = "\n  ".join(["example:", *(f"partlib {name} {example}" for example in examples)])
        raw = argparse.RawDescriptionHelpFormatter
        sub = commands.add_parser(name, help=help, description=help, epilog=epilog, formatter_class=raw)
        sub.set_defaults(run=run)
        return sub

    several = "... with torchrun --nproc_per_node=2 -m partlib train ... in two processes"
    sub = command(_train, "train a part segmenter", "--data birds --out runs/birds", several)
    _add_config(sub)
    sub.add_argument("--out", type=Path, required=True, help="folder of the run")
    sub.add_argument("--resume", action="store_true", help="go on with the run in --out")
    _add_device(sub)
    speed = sub.add_argument_group("speed (none of these changes the result beyond rounding)")
    speed.add_argument("--precision", default="auto", help="float32, bfloat16 or auto: bfloat16 on GPUs that have it")
    speed.add_argument("--compile", action="store_true", help="compile the network (minutes at the start; for GPUs)")
    speed.add_argument("--workers", type=int, help="processes that read images ahead (default 0, with a GPU 4)")
    speed.add_argument("--feature-cache-gb", type=float, default=20.0, help="largest feature cache (default 20)")

    sub = command(_demo, "train, score beside every baseline, draw the parts", "--out runs/demo")
    _add_config(sub)
    sub.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the run (default runs/demo)")
    _add_device(sub)

    scores = "runs/birds --split test --baselines --json scores.json"
    paper = "runs/cub --protocol cub --masks runs/foreground/masks"
    sub = command(_evaluate, "score a run on a data set", scores, paper)
    sub.add_argument("directory", type=Path, help="folder of a run, or a model.safetensors")
    sub.add_argument("--data", default="", help="data set; by default the one of the run")
    sub.add_argument("--split", default="test", help="train, val or test (default test)")
    _add_options(sub)
    sub.add_argument("--baselines", action="store_true", help="score every baseline too")
    sub.add_argument("--json", type=Path, help="write the scores to this file")
    sub.add_argument("--picture", type=Path, help="write a grid of example segmentations to this PNG")
    sub.add_argument("--protocol", default="", help="score as the paper: cub, deepfashion, pascal-part or pixels")
    sub.add_argument("--masks", type=Path, help="score with these predicted masks too (see partlib foreground)")
    sub.add_argument("--reproduce-release", action="store_true", help="with the conventions of the authors' release")

    sub = command(_foreground, "predict masks for test images, from the training masks", "--data cub --out runs/masks")
    _add_fields(sub, MaskConfig)
    sub.add_argument("--out", type=Path, required=True, help="folder for the network, its scores and masks/")
    sub.add_argument("--splits", nargs="+", default=["test"], help="splits to write masks for (default test)")
    _add_device(sub)

    sub = command(_segment, "segment your own photographs", "runs/birds photo.jpg --mask mask.png --out parts")
    sub.add_argument("directory", type=Path, help="folder of a run, or a model.safetensors")
    sub.add_argument("images", type=Path, nargs="+", help="photographs")
    sub.add_argument("--mask", type=Path, nargs="*", default=[], help="one binary mask per photograph, same order")
    sub.add_argument("--out", type=Path, default=Path("parts"), help="folder for overlays and label maps")

    sub = command(
        _convert, "make a run of a checkpoint of the authors' release", "model.pth --data cub --out runs/release"
    )
    sub.add_argument("checkpoint", type=Path, help="file that the release saved (model_state_dict)")
    sub.add_argument("--data", default="cub", help="data set that it was trained on (default cub)")
    sub.add_argument("--root", default="", help="folder of the data set, where it is not the default")
    sub.add_argument("--out", type=Path, required=True, help="folder of the run")

    sub = command(_data, "describe or download a data set", "info birds", "download ccp")
    sub.add_argument("action", choices=("info", "download"))
    sub.add_argument("name", help="name of the data set")
    _add_options(sub)
    sub.add_argument("--image-size", type=int, default=128, help="side of the prepared images in pixels")

    command(_info, "versions, device, presets and data sets", "")
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", default="", help="folder of the data set, where it is not the default")
    text = "options of the data set, as in classes=1,2,3 or category=horse"
    parser.add_argument("--data-options", nargs="*", default=[], metavar="KEY=VALUE", help=text)


def _add_config(parser: argparse.ArgumentParser) -> None:
    own = ", ".join(f"{preset} for --data {data}" for data, preset in BY_DATA.items())
    parser.add_argument("--preset", default="", help=f"{', '.join(PRESETS)} (default {own}, else cpu)")
    parser.add_argument("--reproduce-release", action="store_true", help="every quirk of the authors' code")
    group = parser.add_argument_group("configuration (each replaces the preset's value)")
    _add_fields(group, TrainConfig)
    for name in (*RENAMED, *GONE, "pretrained", "backbone_weights", "feature_weights"):  # of the first edition
        group.add_argument(
            f"--{name.replace('_', '-')}", dest=f"config_{name}", type=_value, nargs="*", help=argparse.SUPPRESS
        )


def _add_fields(parser: Any, config: type) -> None:
    """An option ``config_<name>`` for each field of a configuration, with its docstring for help."""
    docs = _field_docs(config)
    for f in dataclasses.fields(config):
        kind = {bool: _boolean, int: int, float: float}.get(type(f.default), str)
        many: dict[str, Any] = {"nargs": "*"} if isinstance(f.default, tuple) else {}
        text = f"{docs.get(f.name, '')} (default {f.default!r})".replace("%", "%%")
        parser.add_argument(f"--{f.name.replace('_', '-')}", dest=f"config_{f.name}", type=kind, help=text, **many)


def _field_docs(config: type) -> dict[str, str]:
    """Field -> the string that stands under it in the source."""
    (body,) = ast.parse(inspect.getsource(config)).body
    docs = {}
    for field, text in zip(body.body, body.body[1:], strict=False):  # type: ignore[attr-defined]
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            docs[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[union-attr]
    return docs


def _boolean(text: str) -> bool:
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]


def _value(text: str) -> Any:
    """A value of an option of the first edition, as its configuration files have it."""
    for read in (int, float, lambda t: {"true": True, "false": False}[t.lower()]):
        try:
            return read(text)
        except (ValueError, KeyError):
            continue
    return text


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration among the options, those of the first edition under their new names."""
    fields = {
        name.removeprefix("config_"): v for name, v in options.items() if name.startswith("config_") and v is not None
    }
    lists = ("start_losses", "feature_level_weights")
    old = {name: v[0] if len(v) == 1 and name not in lists else v for name, v in fields.items() if name not in _CURRENT}
    return {name: v for name, v in fields.items() if name in _CURRENT} | current_fields(old)


_CURRENT = {f.name for f in dataclasses.fields(TrainConfig)}


def _config(preset: str, reproduce_release: bool, options: Mapping[str, Any]) -> TrainConfig:
    fields = _given(options)
    config = TrainConfig.preset(preset or default_preset(fields.get("data", TrainConfig.data)), **fields)
    if not reproduce_release:
        return config
    from partlib.paper.release import release_config

    return release_config(config)


# The commands import what they need when they run: --help should not wait for torch.


def _train(out: Path, resume: bool, device: str, preset: str, reproduce_release: bool, **options: Any) -> None:
    from partlib import distributed
    from partlib.paper.release import recipe_of
    from partlib.runs import train
    from partlib.runs.build import Runtime

    runtime = Runtime(*(options[name] for name in ("precision", "compile", "workers", "feature_cache_gb")))
    config = _config(preset, reproduce_release, options)
    with distributed.processes(device):
        result = train(config, out, resume=resume, device=device, runtime=runtime, recipe=recipe_of(config))
        distributed.print_rank0(f"model, log and configuration are in {result.out}")


def _demo(out: Path, device: str, preset: str, reproduce_release: bool, **options: Any) -> None:
    from partlib.paper.release import recipe_of
    from partlib.report.tables import demo

    config = _config(preset, reproduce_release, options)
    demo(config, out, device, recipe_of(config))


def _evaluate(directory: Path, json: Path | None, picture: Path | None, baselines: bool, **options: Any) -> None:
    from partlib.paper import report as paper
    from partlib.paper.release import recipe_of
    from partlib.report import tables
    from partlib.runs.checkpoint import load_model, write_json

    segmenter, config = load_model(directory)
    there = paper.on_data(config, options["data"], options["root"], options["data_options"])
    split, protocol, masks, release = (options[k] for k in ("split", "protocol", "masks", "reproduce_release"))
    if protocol or masks or release:
        for name, given in (("baselines", baselines), ("picture", picture)):
            if given:
                raise ConfigError(
                    f"--{name} does not go with --protocol, --masks or --reproduce-release; drop one of them"
                )
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


def _foreground(out: Path, splits: list[str], device: str, **options: Any) -> None:
    from partlib.masks.network import foreground

    fields = {name.removeprefix("config_"): v for name, v in options.items() if v is not None}
    scores = foreground(MaskConfig(**fields), out, splits, device)
    listed = ", ".join(f"{split} {value:.1f}%" for split, value in scores.items())
    print(f"mean intersection over union with the annotated masks: {listed}")
    print(f"masks are in {out / 'masks'}")


def _segment(directory: Path, images: list[Path], mask: list[Path], out: Path) -> None:
    from partlib.report.inference import segment_files

    for path in segment_files(directory, images, mask, out):
        print(path)


def _convert(checkpoint: Path, out: Path, data: str, root: str) -> None:
    from partlib.paper.checkpoint import convert_release_checkpoint

    print(convert_release_checkpoint(checkpoint, out, data, root).report())
    print(f"model and configuration are in {out}")


def _data(action: str, name: str, root: str, data_options: list[str], image_size: int) -> None:
    from partlib.data import read_options
    from partlib.data.summary import describe, download

    place = Path(root) if root else None
    if action == "download":
        print(f"{name} is in {download(name, place)}")
    else:
        print(describe(name, place, image_size, **read_options(name, data_options)))


def _info() -> None:
    from partlib.data import DATASETS
    from partlib.report.tables import environment

    for key, value in {**environment(), "presets": ", ".join(PRESETS), "data sets": ", ".join(DATASETS)}.items():
        print(f"{key:12} {value}")
