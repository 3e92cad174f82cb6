"""The errors that a user can cause: each message names what was found, what was expected, and how to mend it.

The command line prints them as one line; everything else keeps its traceback.
"""


def brief(error: BaseException, most: int = 120) -> str:
    """What an error of a library says, as one line of at most ``most`` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else f"{text[: most - 3]}..."


class PartlibError(Exception):
    """Any of them."""


class DataError(PartlibError, ValueError):
    """A data set, file or annotation that cannot be used."""


class ConfigError(PartlibError, ValueError):
    """An option or argument with a value that makes no sense."""


class CheckpointError(PartlibError, RuntimeError):
    """A checkpoint or weight file that cannot be read or does not fit the model."""
