"""Run the notebooks and save them with their outputs.

    python notebooks/execute.py             # all of them, exercises and solutions included
    python notebooks/execute.py 01          # those whose name starts with 01
    python notebooks/execute.py --links     # run nothing, only write badges, setup cells and running times anew
    python notebooks/execute.py --as Binder # run, save nothing but the running time, under that name

The preset is that of PARTLIB_PRESET, or fits the hardware. A notebook that fails is not saved.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from partlib_course import notebook
from partlib_course.widgets import WIDGET_MIME

HERE = Path(__file__).resolve().parent
TIMINGS = HERE / "timings.json"
FOLDERS = (".", "exercises", "solutions")
MACHINES = {"cpu": "CPU", "gpu": "GPU"}  # preset -> column of the running times; "ci" has none
COLUMNS = ("CPU", "GPU", "Binder")
CPU_BUILD = "CPU build"  # in the file of running times: the memory with that build of torch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", help="first characters of the names; all notebooks by default")
    parser.add_argument("--links", action="store_true", help="run nothing")
    names = (*COLUMNS, CPU_BUILD)
    parser.add_argument("--as", dest="machine", choices=names, help="save the running time only, under this name")
    arguments = parser.parse_args()
    failed = []
    for path in find(arguments.numbers):
        if arguments.links:
            content = nbformat.read(path, as_version=4)
            write(path, content)
            continue
        print(f"{path.relative_to(HERE)} ...", end=" ", flush=True)
        started = time.perf_counter()
        try:
            run(path, arguments.machine)
        except CellExecutionError as error:
            failed.append(path.name)
            print(f"failed:\n{error}")
        else:
            print(f"{time.perf_counter() - started:.0f} s")
    return 1 if failed else 0


def find(numbers: list[str]) -> list[Path]:
    """The notebooks whose names start with one of ``numbers``, or all."""
    paths = [path for folder in FOLDERS for path in sorted((HERE / folder).glob("*.ipynb"))]
    return [path for path in paths if not numbers or path.name.startswith(tuple(numbers))]


def run(path: Path, machine: str | None = None) -> None:
    """Execute one notebook in its own folder and save it, or only its running time where ``machine`` is given."""
    content = nbformat.read(path, as_version=4)
    place_links(content, path)
    with TemporaryDirectory() as folder:
        measured = Path(folder) / "timings.json"
        os.environ |= {"TQDM_DISABLE": "1", "PARTLIB_TIMINGS": str(measured)}
        place = {"metadata": {"path": str(path.parent)}}
        NotebookClient(
            content, timeout=3600, kernel_name="python3", resources=place, store_widget_state=False
        ).execute()
        if measured.exists():
            values = json.loads(measured.read_text(encoding="utf-8"))
            note_time(path, machine or MACHINES.get(values["preset"]), values)
    write(path, nbformat.read(path, as_version=4) if machine else content)


def write(path: Path, content: NotebookNode) -> None:
    place_links(content, path)
    clean(content)
    nbformat.write(content, path)


def clean(content: NotebookNode) -> None:
    """Take out what means nothing in a file: running kernels' widgets, time stamps, versions."""
    content.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
    )
    for cell in content.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_MIME, None)  # the static figure beside it stays


def place_links(content: NotebookNode, path: Path) -> None:
    """Write badges and running times into the cell tagged "links" and the one setup cell into that tagged "setup"."""
    for cell in content.cells:
        tags = cell.metadata.get("tags", [])
        if "links" in tags:
            cell.source = links(path)
        if "setup" in tags:
            cell.source = notebook.SETUP


def links(path: Path) -> str:
    """Badges of a notebook and, where it is one that is timed, its running times."""
    name = path.relative_to(HERE).as_posix()
    return "\n\n".join(filter(None, [notebook.badges(name), running_times(name)]))


def running_times(name: str) -> str:
    """The line of running times of a notebook, as measured; empty for exercises and solutions."""
    if "/" in name:
        return ""
    known = json.loads(TIMINGS.read_text(encoding="utf-8")) if TIMINGS.exists() else {}
    measured = known.get(name, {})
    shown = []
    for column in COLUMNS:
        values = measured.get(column)
        text = "not measured yet"
        if values:
            seconds = values["seconds"]
            time_taken = f"{seconds} s" if seconds < 100 else f"{seconds / 60:.0f} min"
            text = f"{time_taken}, {values['memory'] / 1e9:.1f} GB ({values['device']})"
        shown.append(f"{column} {text}")
    small = measured.get(CPU_BUILD)
    if small:  # the CUDA build of torch, which pip installs, holds half a gigabyte more
        shown.append(f"{small['memory'] / 1e9:.1f} GB with torch's CPU build, as on Binder")
    return "**Running time**, first run, with peak memory: " + " · ".join(shown) + "."


def note_time(path: Path, machine: str | None, values: dict) -> None:
    name = path.relative_to(HERE).as_posix()
    if machine is None or "/" in name:
        return
    known = json.loads(TIMINGS.read_text(encoding="utf-8")) if TIMINGS.exists() else {}
    known.setdefault(name, {})[machine] = {key: values[key] for key in ("seconds", "memory", "device")}
    TIMINGS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
