"""The errors that a user can cause: each message names what was found, what was expected, and how to mend it.

The command line prints them as one line; everything else keeps its traceback.
"""

from collections.abc import Sequence
from pathlib import Path


def brief(error: BaseException, most: int = 120) -> str:
    """What an error of a library says, as one line of at most ``most`` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else f"{text[: most - 3]}..."


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names, and dots where there are more."""
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)


def about(error: Exception, *paths: Path) -> str:
    """What an error says, behind the first of ``paths`` where it names none of them."""
    text = str(error)
    return text if any(str(path) in text for path in paths) else f"{paths[0]}: {text}"


class PartlibError(Exception):
    """Any of them."""


class DataError(PartlibError, ValueError):
    """A data set, file or annotation that cannot be used."""


class ConfigError(PartlibError, ValueError):
    """An option or argument with a value that makes no sense."""


class CheckpointError(PartlibError, RuntimeError):
    """A checkpoint or weight file that cannot be read or does not fit the model."""
