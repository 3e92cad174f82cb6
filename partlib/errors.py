"""The errors that a user can cause: each message names what was found, what was expected, and how to mend it.

The command line prints them as one line; everything else keeps its traceback.
"""


class PartlibError(Exception):
    """Any of them."""


class DataError(PartlibError, ValueError):
    """A data set, file or annotation that cannot be used."""


class ConfigError(PartlibError, ValueError):
    """An option or argument with a value that makes no sense."""


class CheckpointError(PartlibError, RuntimeError):
    """A checkpoint or weight file that cannot be read or does not fit the model."""
