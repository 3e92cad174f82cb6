"""``partlib train | evaluate | foreground | segment | convert | data | info | demo``."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from partlib.config import PRESETS, TrainConfig
from partlib.errors import ConfigError, PartlibError
from partlib.masks.config import MaskConfig
from partlib.presets import BY_DATA, default_preset

TRAIN_EXAMPLE = """partlib train --data birds --out runs/birds
  torchrun --nproc_per_node=2 -m partlib train --data birds --out runs/birds   (on 2 GPUs)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 the user's input was at fault, 130 interrupted.

    Raises
    ------
    SystemExit : 2 where the arguments do not parse, 0 after ``--help``.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
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

    def command(name: str, run, help: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=help,
            description=help,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        return sub

    _add_train(command("train", _train, "train a part segmenter", TRAIN_EXAMPLE))
    sub = command("demo", _demo, "train, score beside every baseline, draw the parts", "partlib demo --out runs/demo")
    _add_config(sub)
    sub.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the run (default runs/demo)")
    sub.add_argument("--device", default="auto", help="auto, cpu or cuda")

    example = (
        "partlib evaluate runs/birds --split test --baselines --json scores.json\n"
        "  partlib evaluate runs/cub --protocol cub --masks runs/foreground/masks"
    )
    sub = command("evaluate", _evaluate, "score a run on a data set", example)
    sub.add_argument("directory", type=Path, help="folder of a run, or a model.safetensors")
    _add_data(sub)
    sub.add_argument("--baselines", action="store_true", help="score every baseline too")
    sub.add_argument("--json", type=Path, help="write the scores to this file")
    sub.add_argument("--picture", type=Path, help="write a grid of example segmentations to this PNG")
    sub.add_argument("--protocol", default="", help="score as the paper: cub, deepfashion, pascal-part or pixels")
    sub.add_argument("--masks", type=Path, help="score with these predicted masks too (see partlib foreground)")
    sub.add_argument("--reproduce-release", action="store_true", help="with the conventions of the authors' release")

    example = "partlib foreground --data cub --out runs/foreground"
    sub = command("foreground", _foreground, "predict masks for test images, from the training masks", example)
    _add_fields(sub, tuple(MASK_DEFAULTS), MASK_DEFAULTS)
    sub.add_argument("--out", type=Path, required=True, help="folder for the network, its scores and masks/")
    sub.add_argument("--splits", nargs="+", default=["test"], help="splits to write masks for (default test)")
    sub.add_argument("--device", default="auto", help="auto, cpu or cuda")

    example = "partlib segment runs/birds photo.jpg --mask mask.png --out parts"
    sub = command("segment", _segment, "segment your own photographs", example)
    sub.add_argument("directory", type=Path, help="folder of a run, or a model.safetensors")
    sub.add_argument("images", type=Path, nargs="+", help="photographs")
    sub.add_argument("--mask", type=Path, nargs="*", default=[], help="one binary mask per photograph, same order")
    sub.add_argument("--out", type=Path, default=Path("parts"), help="folder for overlays and label maps")

    example = "partlib convert model_60000.pth --data cub --out runs/release"
    sub = command("convert", _convert, "make a run of a checkpoint of the authors' release", example)
    sub.add_argument("checkpoint", type=Path, help="file that the release saved (model_state_dict)")
    sub.add_argument("--data", default="cub", help="data set that it was trained on (default cub)")
    sub.add_argument("--root", default="", help="folder of the data set, where it is not the default")
    sub.add_argument("--out", type=Path, required=True, help="folder of the run")

    sub = command("data", _data, "describe or download a data set", "partlib data info birds")
    sub.add_argument("action", choices=("info", "download"))
    sub.add_argument("name", help="name of the data set")
    sub.add_argument("--root", default="", help="folder of the data set, where it is not the default")
    _add_options(sub)
    sub.add_argument("--image-size", type=int, default=128, help="side of the prepared images in pixels")

    command("info", _info, "versions, device, presets and data sets", "partlib info")
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", default="", help="data set; by default the one of the run")
    parser.add_argument("--root", default="", help="folder of the data set, where it is not the default")
    parser.add_argument("--split", default="test", help="train, val or test (default test)")
    _add_options(parser)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-options",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="options of the data set, as in classes=1,2,3 or category=horse",
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    own = ", ".join(f"{preset} for --data {data}" for data, preset in BY_DATA.items())
    parser.add_argument("--preset", default="", help=f"{', '.join(PRESETS)} (default {own}, else cpu)")
    parser.add_argument("--reproduce-release", action="store_true", help="every quirk of the authors' code")
    _add_fields(parser.add_argument_group("configuration (each replaces the preset's value)"), FIELDS)


def _add_fields(parser, names: Sequence[str], defaults: Mapping[str, Any] | None = None) -> None:
    """An option for each of these fields of TrainConfig; what is not given is None."""
    for f in dataclasses.fields(TrainConfig):
        if f.name in names:
            kind, default = _READERS.get(type(f.default), str), (defaults or {}).get(f.name, f.default)
            many: dict[str, Any] = {"nargs": "*"} if isinstance(f.default, tuple) else {}
            parser.add_argument(f"--{f.name.replace('_', '-')}", type=kind, help=f"default {default!r}", **many)


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    speed = parser.add_argument_group("speed (none of these changes the result beyond rounding)")
    speed.add_argument("--precision", default="auto", help="float32, bfloat16 or auto: bfloat16 on GPUs that have it")
    speed.add_argument("--compile", action="store_true", help="compile the network (minutes at the start; for GPUs)")
    speed.add_argument("--workers", type=int, help="processes that read images ahead (default 0, with a GPU 4)")
    speed.add_argument("--feature-cache-gb", type=float, default=20.0, help="largest feature cache (default 20)")


def _boolean(text: str) -> bool:
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]


_READERS: dict[type, Callable[[str], Any]] = {int: int, float: float, bool: _boolean}
FIELDS = tuple(f.name for f in dataclasses.fields(TrainConfig))
MASK_DEFAULTS = {f.name: f.default for f in dataclasses.fields(MaskConfig)}


def _config(arguments: argparse.Namespace) -> TrainConfig:
    preset = arguments.preset or default_preset(arguments.data or TrainConfig.data)
    return TrainConfig.preset(preset, reproduce_release=arguments.reproduce_release, **_given(arguments, FIELDS))


def _given(arguments: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Those of the named options that were given."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


# The commands import what they need when they run: --help should not wait for torch.


def _train(arguments: argparse.Namespace) -> None:
    from partlib import distributed
    from partlib.execution import Execution
    from partlib.training import train

    execution = Execution(arguments.precision, arguments.compile, arguments.workers, arguments.feature_cache_gb)
    with distributed.processes(arguments.device):
        result = train(
            _config(arguments), arguments.out, resume=arguments.resume, device=arguments.device, execution=execution
        )
        distributed.say(f"model, log and configuration are in {result.out}")


def _demo(arguments: argparse.Namespace) -> None:
    from partlib.report.tables import demo

    demo(_config(arguments), arguments.out, arguments.device)


def _evaluate(arguments: argparse.Namespace) -> None:
    from partlib.paper.report import Source
    from partlib.report import tables as report
    from partlib.runs.checkpoint import load_model, write_json

    segmenter, config = load_model(arguments.directory)
    source = Source.of(config, arguments.data, arguments.root, arguments.data_options)
    if arguments.protocol or arguments.masks or arguments.reproduce_release:
        return _evaluate_protocol(arguments, segmenter, config, source)
    dataset = source.load(arguments.split)
    evaluation = report.evaluate(segmenter, config, dataset, with_baselines=arguments.baselines)
    print(report.table(evaluation.metrics))
    if arguments.json:
        write_json(arguments.json, evaluation.metrics)
    if arguments.picture:
        report.picture(evaluation, dataset, arguments.picture)


def _evaluate_protocol(arguments: argparse.Namespace, segmenter, config: TrainConfig, source) -> None:
    from partlib.paper import report as protocol_report
    from partlib.runs.checkpoint import write_json

    for option in ("baselines", "picture"):
        if getattr(arguments, option):
            raise ConfigError(
                f"--{option} does not go with --protocol, --masks or --reproduce-release; drop one of them"
            )
    names = ("split", "masks", "reproduce_release")
    options = {name: getattr(arguments, name) for name in names}
    result = protocol_report.evaluate(segmenter, config, source, arguments.protocol, **options)
    print(protocol_report.table(result))
    if arguments.json:
        write_json(arguments.json, result)


def _foreground(arguments: argparse.Namespace) -> None:
    from partlib.masks.network import foreground

    config = MaskConfig(**_given(arguments, tuple(MASK_DEFAULTS)))
    scores = foreground(config, arguments.out, arguments.splits, arguments.device)
    listed = ", ".join(f"{split} {value:.1f}%" for split, value in scores.items())
    print(f"mean intersection over union with the annotated masks: {listed}")
    print(f"masks are in {arguments.out / 'masks'}")


def _segment(arguments: argparse.Namespace) -> None:
    from partlib.report.inference import segment_files

    for path in segment_files(arguments.directory, arguments.images, arguments.mask, arguments.out):
        print(path)


def _convert(arguments: argparse.Namespace) -> None:
    from partlib.paper.checkpoint import convert_release_checkpoint

    mapping = convert_release_checkpoint(arguments.checkpoint, arguments.out, arguments.data, arguments.root)
    print(mapping.report())
    print(f"model and configuration are in {arguments.out}")


def _data(arguments: argparse.Namespace) -> None:
    from partlib.data.options import read_options
    from partlib.data.summary import describe, download

    root = Path(arguments.root) if arguments.root else None
    if arguments.action == "download":
        print(f"{arguments.name} is in {download(arguments.name, root)}")
    else:
        options = read_options(arguments.name, arguments.data_options)
        print(describe(arguments.name, root, arguments.image_size, **options))


def _info(arguments: argparse.Namespace) -> None:
    from partlib.data import DATASETS
    from partlib.report.tables import environment

    for key, value in environment().items():
        print(f"{key:12} {value}")
    print(f"{'presets':12} {', '.join(PRESETS)}")
    print(f"{'data sets':12} {', '.join(DATASETS)}")
