"""Options of the command line: of configurations, one for every field, and what completes them in a shell."""

import argparse
import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any, NoReturn

from partlib.config import PRESETS, TrainConfig
from partlib.first_edition import GONE, RENAMED


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line; the usage of ``train`` alone would fill the screen."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def add_options(add: Callable[..., Any]) -> None:
    add("--root", default="", help="folder of the data set, where it is not the default")
    text = "options of the data set, as in classes=1,2,3 or category=horse"
    add("--data-options", nargs="*", default=[], metavar="KEY=VALUE", help=text)


def add_config(add: Callable[..., Any]) -> None:
    text = f"{', '.join(PRESETS)} (default birds for --data birds, else photographs), changed by the options below"
    add("--preset", default="", help=text)
    add("--reproduce-release", action="store_true", help="every quirk of the authors' code; with --preset paper")
    add_fields(add, TrainConfig)
    for name, value in {**GONE, **{old: getattr(TrainConfig, new) for old, new in RENAMED.items()}}.items():
        add_field(add, name, value, argparse.SUPPRESS)  # of the first edition
    add("--device", default="auto", help="auto, cpu or cuda")


def add_fields(add: Callable[..., Any], config: type) -> None:
    """An option for each field of a configuration; its help is the comment behind it in the source."""
    comments = comments_of(config)
    for f in dataclasses.fields(config):
        add_field(add, f.name, f.default, f"{comments.get(f.name, '')} (default {f.default!r})")


def comments_of(thing: Any) -> dict[str, str]:
    """Argument of a function or class, or field of a dataclass or tuple -> the comment behind it in the source."""
    try:
        lines = inspect.getsource(thing).splitlines()
    except (OSError, TypeError):  # built-in, or made while running
        return {}
    if inspect.isclass(thing) and "__init__" in vars(thing) and not dataclasses.is_dataclass(thing):
        return comments_of(vars(thing)["__init__"])
    indent = "    "
    if not inspect.isclass(thing):  # the head of a function ends with the colon behind its closing bracket
        end = next((i for i, line in enumerate(lines) if line.rstrip().endswith(":") and ")" in line), 0)
        lines, indent = lines[: end + 1], "    (?:    )?"
    found = (re.match(rf"{indent}(\w+)(?:: [^#]+?|,)\s*,?\s+# (.+)$", line) for line in lines)
    return {match[1]: match[2].strip() for match in found if match}


def add_field(add: Callable[..., Any], name: str, value: Any, help: str) -> None:
    """An option for values of the kind of ``value``, None where it is not given."""
    many: dict[str, Any] = {"nargs": "*"} if isinstance(value, (tuple, list)) else {}
    one = (*value, "")[0] if many else value
    kind = boolean if isinstance(one, bool) else type(one)
    add(f"--{name.replace('_', '-')}", metavar=name.upper(), type=kind, help=help, **many)


def boolean(text: str) -> bool:
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]


def add_completion(parser: argparse.ArgumentParser) -> None:
    """``--print-completion bash`` (zsh, tcsh): a script with which the shell completes commands and options."""
    import shtab

    shtab.add_argument_to(parser, "--print-completion", help="print what completes options in this shell")
