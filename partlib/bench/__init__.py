"""``partlib bench``: the library against the formulas written out, measured side by side on your own machine.

cases     what is measured: losses, warps, scores
step      a whole training step
scaling   several processes
measure   time and memory, memory in processes of their own
report    the file, the picture and the table that the README shows
"""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from partlib.errors import ConfigError

ROOT = Path(__file__).parents[2]


def plain_module(name: str) -> ModuleType:
    """A module of ``tests/benchmarks``, where the plain formulas are.

    Raises
    ------
    ConfigError : the library was installed without its tests.
    """
    file = ROOT / "tests" / "benchmarks" / f"{name}.py"
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; expected a clone of the repository, which the benchmarks need")
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return import_module(f"tests.benchmarks.{name}")
