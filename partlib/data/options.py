"""Options of the data sets as text: the ``key=value`` that the command line takes and a configuration stores."""

import inspect
import typing
from collections.abc import Callable, Sequence
from importlib import import_module

from partlib.data import DATASETS
from partlib.errors import ConfigError

GENERAL = ("split", "root", "image_size")  # arguments of every loader; each has a place of its own


def option_types(name: str) -> dict[str, type]:
    """Options of one data set's ``load`` and the kind of value each takes: bool, tuple (of numbers), int, float or str.

    They are read off the signature of ``load``, so a loader that gains an option has it here too.

    Raises
    ------
    ConfigError : unknown data set.
    """
    if name not in DATASETS:
        raise ConfigError(f"data set {name!r} is unknown; expected one of {', '.join(sorted(DATASETS))}")
    load = import_module(DATASETS[name]).load
    hints = typing.get_type_hints(load)
    return {key: _kind(hints[key]) for key in inspect.signature(load).parameters if key not in GENERAL}


def _kind(hint: typing.Any) -> type:
    """The kind of value that a type hint such as ``Sequence[int] | None`` asks for."""
    allowed = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
    if any(typing.get_origin(one) is Sequence for one in allowed):
        return tuple
    return next((kind for kind in (bool, int, float) if kind in allowed), str)


def read_options(name: str, texts: Sequence[str]) -> dict[str, typing.Any]:
    """Values for ``load_dataset(name, ..., **options)`` from texts such as ``"classes=1,2,3"`` or ``"mirror=yes"``.

    Raises
    ------
    ConfigError : a text that is not key=value, an option that the data set does not have, or a value of another kind.
    """
    kinds = option_types(name)
    options = {}
    for key, value in map(_pair, texts):
        if key not in kinds:
            known = ", ".join(kinds) or "none"
            raise ConfigError(f"data option {key!r} is unknown; {name} has these: {known}")
        read, expected = _READERS[kinds[key]]
        try:
            options[key] = read(value)
        except (ValueError, KeyError) as error:
            raise ConfigError(f"data option {key} is {value!r}; expected {expected}") from error
    return options


def merge_options(*groups: Sequence[str]) -> tuple[str, ...]:
    """Options of several groups, each once; where two name one key the later value counts."""
    return tuple(f"{key}={value}" for key, value in dict(_pair(text) for group in groups for text in group).items())


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise ConfigError(f"data option {text!r} is not of the form key=value, as in category=horse or classes=1,2,3")
    return key.strip().replace("-", "_"), value.strip()


_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_READERS: dict[type, tuple[Callable[[str], typing.Any], str]] = {
    bool: (lambda text: _WORDS[text.lower()], "true or false"),
    tuple: (lambda text: tuple(int(part) for part in text.split(",")), "whole numbers with commas, as in 1,2,3"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "text"),
}
