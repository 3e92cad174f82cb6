"""What the API pages say about arguments: the comments behind them in the source."""

import inspect
import re
from typing import Any

ARGUMENT = re.compile(r"^    (?:    )?(\w+)(?:: [^#]+?|,)\s*,?\s+# (.+)$")


def arguments_of(thing: Any) -> dict[str, str]:
    """Argument, or field of a dataclass, -> the comment behind it."""
    try:
        lines = inspect.getsource(thing).splitlines()
    except (OSError, TypeError):  # built-in, or made while running
        return {}
    if inspect.isclass(thing) and "__init__" in vars(thing):
        return arguments_of(vars(thing)["__init__"])
    if not inspect.isclass(thing):  # the head of a function ends with the colon behind its closing bracket
        end = next((i for i, line in enumerate(lines) if line.rstrip().endswith(":") and ")" in line), 0)
        lines = lines[: end + 1]
    found = (ARGUMENT.match(line) for line in lines)
    return {match[1]: match[2].strip() for match in found if match}
