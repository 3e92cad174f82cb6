"""The rooms of partlib import in one direction, and never in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLOORS = (  # from the ground up: a room imports rooms of the floors below, and files of its own floor
    *("errors paths distributed config", "first_edition", "data", "moments warps augment backbones"),
    *("losses features segmenter metrics evaluation", "objective loader", "training", "runs"),
    *("report masks", "paper export", "cli __main__"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
APART = {"report", "masks"}  # on one floor, without a door between them
OUTSIDE = {"partlib_course", "notebooks", "tests", "benchmarks", "figures", "docs"}


def imported(path: Path, files: dict[str, Path]) -> set[str]:
    """Modules that a file imports, those inside functions and under TYPE_CHECKING too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in files else str(node.module) for name in names}
    return found


def test_imports_point_downwards_and_never_in_a_circle():
    paths = sorted((ROOT / "partlib").rglob("*.py"))
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    graph = {module: imported(path, files) for module, path in files.items()}
    assert not [(module, name) for module in graph for name in graph[module] if name.split(".")[0] in OUTSIDE]
    del graph["partlib"]  # the front door: it names what lies in every room
    arrows = {module: {name for name in names if name in graph} for module, names in graph.items()}
    assert {module.split(".")[1] for module in arrows} <= set(FLOOR), "a new room needs a floor"
    rooms = [(a, b, a.split(".")[1], b.split(".")[1]) for a, names in arrows.items() for b in names]
    assert not [f"{a} -> {b}" for a, b, one, other in rooms if FLOOR[one] < FLOOR[other] or {one, other} == APART]
    list(TopologicalSorter(arrows).static_order())  # raises CycleError, which lists the circle
