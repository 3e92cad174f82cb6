"""``partlib course``: the notebooks as a folder of one's own, for whoever has the installed package alone."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from partlib.errors import ConfigError

PATTERNS = ("*.ipynb", "exercises/*.ipynb", "solutions/*.ipynb", "GLOSSARY.md", "PROJECTS.md", "INSTRUCTOR.md")
FIRST = "00_start_here.ipynb"


def lessons() -> Path:
    """The folder of the notebooks: installed with the lessons' figures, or that of the repository around these."""
    spec = find_spec("partlib_course")
    if spec is None or spec.origin is None:
        raise ConfigError("the course is not installed here; install partlib again, or use a copy of the repository")
    figures = Path(spec.origin).resolve().parent
    return figures / "lessons" if (figures / "lessons" / FIRST).is_file() else figures.parent


def copy_course(folder: Path) -> Path:
    """Copy lessons, exercises, solutions and texts into ``folder``, unless it is an earlier copy."""
    if (folder / FIRST).is_file():
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} holds other files; expected a new or empty folder, or a copy: name another")
    files = [path for pattern in PATTERNS for path in sorted(lessons().glob(pattern))]
    if not any(path.name == FIRST for path in files):
        raise ConfigError(f"{lessons()} holds no notebooks; install partlib again, or use a copy of the repository")
    for path in files:
        target = folder / path.relative_to(lessons())
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb":
            target.write_text(at_home(path.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            shutil.copy(path, target)
    return folder


def at_home(text: str) -> str:
    """A notebook without the first lines about the repository, which is not around it here."""
    content = json.loads(text)
    for cell in content["cells"]:
        if "links" in cell["metadata"].get("tags", []):
            lines = "".join(cell["source"]).splitlines(keepends=True)
            cell["source"] = [line for line in lines if line.startswith("**Running time")]
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def open_lab(folder: Path) -> None:
    """JupyterLab on a folder, until it is closed."""
    if find_spec("jupyterlab") is None:
        raise ConfigError(f'JupyterLab is missing; pip install "partlib[notebooks]", or open {folder} elsewhere')
    subprocess.run([sys.executable, "-m", "jupyterlab", "--notebook-dir", str(folder)], check=False)
