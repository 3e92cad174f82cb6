"""The errors a user can cause. Each message names what was found, what was expected, and how to mend it.

The command line prints them as one line; everything else keeps its traceback.
"""


class PartlibError(Exception):
    """Base class of all errors that a user's input can cause."""


class DataError(PartlibError, ValueError):
    """A data set, file or annotation that cannot be used. The message names the file."""


class ConfigError(PartlibError, ValueError):
    """An option or argument with a value that makes no sense. The message names the option."""


class CheckpointError(PartlibError, RuntimeError):
    """A checkpoint or weight file that cannot be read or does not fit the model."""
