"""``python tests/repository/oldest.py``: the oldest versions that pyproject.toml allows, for ``make oldest``."""

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
TOOLS = ("ruff", "mypy", "setuptools")  # they check the code and do not run it


def pins(text: str) -> list[str]:
    """``name==version.*`` of every requirement ``name>=version`` in the text of pyproject.toml."""
    found = dict(re.findall(r'"([\w.-]+)>=([\d.]+)"', text))
    return [f"{name}=={version}.*" for name, version in found.items() if name not in TOOLS]


if __name__ == "__main__":
    print("\n".join(pins(PROJECT.read_text(encoding="utf-8"))))
