"""Run the notebooks and save them with their outputs.

    python notebooks/execute.py             # all of them, exercises and solutions included
    python notebooks/execute.py 01          # those whose name starts with 01
    python notebooks/execute.py --links     # run nothing, only write badges, setup cells and running times anew
    python notebooks/execute.py --publish owner/name    # the same, for notebooks that lie at this place on GitHub
    python notebooks/execute.py --as Binder # run, save nothing but the running time, under that name

The preset is that of PARTLIB_PRESET, or fits the hardware. A notebook that fails is not saved.
"""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from partlib_course import notebook
from partlib_course.widgets import WIDGET_MIME

HERE = Path(__file__).resolve().parent
TIMINGS = HERE / "course" / "timings.json"
MACHINES = {"cpu": "CPU", "gpu": "GPU"}  # preset -> column of the running times; "ci" has none
COLUMNS = ("CPU", "GPU", "Binder")
CPU_BUILD = "CPU build"  # in the file of running times: the memory with that build of torch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", help="first characters of the names; all notebooks by default")
    parser.add_argument("--links", action="store_true", help="run nothing")
    publish_help = "owner/name of the repository on GitHub; run nothing"
    parser.add_argument("--publish", type=repository, metavar="OWNER/NAME", help=publish_help)
    as_help = "save the running time only, under this name"
    parser.add_argument("--as", dest="machine", choices=(*COLUMNS, CPU_BUILD), help=as_help)
    arguments = parser.parse_args()
    if arguments.publish:
        publish(arguments.publish)
    paths = [path for folder in (".", "exercises", "solutions") for path in sorted((HERE / folder).glob("*.ipynb"))]
    failed = False
    for path in paths:
        if arguments.numbers and not path.name.startswith(tuple(arguments.numbers)):
            continue
        content = nbformat.read(path, as_version=4)
        if not arguments.links and not arguments.publish:
            print(f"{path.relative_to(HERE)} ...", end=" ", flush=True)
            started = time.perf_counter()
            try:
                run(content, path, arguments.machine)
            except CellExecutionError as error:
                failed = True
                print(f"failed:\n{error}")
                continue
            print(f"{time.perf_counter() - started:.0f} s")
        save(nbformat.read(path, as_version=4) if arguments.machine else content, path)
    return int(failed)


def repository(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} found; expected owner/name, as in GITHUB=owner/name")
    return text


def publish(name: str) -> None:
    """Write the repository's place on GitHub into the library; badges and setup cells are made of it."""
    source = HERE / "course" / "notebook.py"
    text, count = re.subn(r'(?m)^REPOSITORY = ".*?"', f'REPOSITORY = "{name}"', source.read_text(encoding="utf-8"))
    assert count == 1
    source.write_text(text, encoding="utf-8")
    notebook.REPOSITORY = name


def run(content: NotebookNode, path: Path, machine: str | None) -> None:
    """Execute one notebook in its own folder and note its running time, where it is a lesson."""
    place_links(content, path)
    with TemporaryDirectory() as folder:
        measured = Path(folder) / "timings.json"
        os.environ |= {"TQDM_DISABLE": "1", "PARTLIB_TIMINGS": str(measured)}
        options: dict[str, Any] = {"timeout": 3600, "kernel_name": "python3", "store_widget_state": False}
        NotebookClient(content, resources={"metadata": {"path": str(path.parent)}}, **options).execute()
        values = json.loads(measured.read_text(encoding="utf-8")) if measured.exists() else {}
    machine = machine or MACHINES.get(values.get("preset"))
    if machine and values and path.parent == HERE:
        known = running_times()
        known.setdefault(path.name, {})[machine] = {key: values[key] for key in ("seconds", "memory", "device")}
        TIMINGS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def running_times() -> dict[str, dict[str, Any]]:
    """Notebook -> machine -> "seconds", "memory" in bytes and "device"."""
    return json.loads(TIMINGS.read_text(encoding="utf-8")) if TIMINGS.exists() else {}


def save(content: NotebookNode, path: Path) -> None:
    """Write a notebook, without what means nothing in a file: running kernels' widgets, time stamps, versions."""
    place_links(content, path)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content.metadata = NotebookNode(kernelspec=kernel, language_info={"name": "python"})
    for cell in content.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_MIME, None)  # the static figure beside it stays
    nbformat.write(content, path)


def place_links(content: NotebookNode, path: Path) -> None:
    """Write badges and running times into the cell tagged "links" and the one setup cell into that tagged "setup"."""
    for cell in content.cells:
        if "links" in cell.metadata.get("tags", []):
            badges = notebook.badges(path.relative_to(HERE).as_posix())
            cell.source = f"{badges}\n\n{times_line(path.name)}" if path.parent == HERE else badges
        if "setup" in cell.metadata.get("tags", []):
            cell.source = notebook.setup_cell()


def times_line(name: str) -> str:
    """The line of running times of a lesson, as measured."""
    measured, shown = running_times().get(name, {}), []
    for column in COLUMNS:
        if values := measured.get(column):
            seconds = values["seconds"]
            duration = f"{seconds} s" if seconds < 100 else f"{seconds / 60:.0f} min"
            shown.append(f"{column} {duration}, {values['memory'] / 1e9:.1f} GB ({values['device']})")
    if small := measured.get(CPU_BUILD):  # the CUDA build of torch, which pip installs, holds 0.3 GB more
        shown.append(f"{small['memory'] / 1e9:.1f} GB with torch's CPU build, as on Binder")
    return f"**Running time**, first run, with peak memory: {' · '.join(shown)}."


if __name__ == "__main__":
    sys.exit(main())
