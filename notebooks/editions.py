"""``python notebooks/editions.py student | teacher [FOLDER]``: the course as a folder to hand out.

The student's has no outputs, no answers and no solutions: predictions come before what they predict. The teacher's has
everything, as it was run.
"""

import argparse
import re
import shutil
import sys
from functools import cache
from pathlib import Path

import nbformat

HERE = Path(__file__).resolve().parent
ANSWER = re.compile(r"<details><summary><b>Answer</b></summary>.*?</details>", re.DOTALL)
LINK = re.compile(r"(?<!!)\[([^\]\[]+)\]\(([^)\s]+)\)")
LATER = "*(The answer is in the teacher's edition. Write down your own first.)*"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edition", choices=("student", "teacher"))
    parser.add_argument("folder", nargs="?", type=Path, help="by default build/EDITION; it must be new, or empty")
    arguments = parser.parse_args()
    folder = arguments.folder or HERE.parent / "build" / arguments.edition
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        print(f"{folder} holds files; expected a new or empty folder: remove it, or name another")
        return 1
    for path in files(arguments.edition):
        target = folder / path.relative_to(HERE)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb" and arguments.edition == "student":
            nbformat.write(for_students(nbformat.read(path, as_version=4), path), target)
        else:
            shutil.copy(path, target)
    print(f"the {arguments.edition}'s edition is in {folder}")
    return 0


@cache
def files(edition: str) -> list[Path]:
    """The notebooks and texts of an edition; the figures' code is installed with the library."""
    folders = (".", "exercises") if edition == "student" else (".", "exercises", "solutions")
    notebooks = [path for folder in folders for path in sorted((HERE / folder).glob("*.ipynb"))]
    texts = ["GLOSSARY.md", "PROJECTS.md", *(["INSTRUCTOR.md"] if edition == "teacher" else [])]
    return notebooks + [HERE / name for name in texts]


def kept(path: Path, link: str) -> bool:
    """Whether what a link in a notebook points to is in the student's edition."""
    file = link.partition("#")[0]
    return "://" in link or not file or (path.parent / file).resolve() in files("student")


def for_students(content: nbformat.NotebookNode, path: Path) -> nbformat.NotebookNode:
    """The notebook without outputs and answers, and without links to what students do not get."""
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = ANSWER.sub(LATER, cell.source)
            cell.source = LINK.sub(lambda link: link[0] if kept(path, link[2]) else link[1], cell.source)
    return content


if __name__ == "__main__":
    sys.exit(main())
