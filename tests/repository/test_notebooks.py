"""The course's notebooks keep their form: executed, small, linked, with lessons that are checked and exercises."""

import ast
import importlib
import re
import statistics
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from partlib_course import notebook

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
LESSONS = sorted(FOLDER.glob("[0-9]*.ipynb"))
EXERCISES, SOLUTIONS = (sorted((FOLDER / name).glob("*.ipynb")) for name in ("exercises", "solutions"))
EVERY = LESSONS + EXERCISES + SOLUTIONS
ANCHORS = {
    re.sub(r"[^\w\- ]", "", line[4:].strip().lower()).replace(" ", "-")
    for line in (FOLDER / "GLOSSARY.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("### ")
}


def title(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


def read(path: Path):
    content = nbformat.read(path, as_version=4)
    nbformat.validate(content)
    return content


def code(content) -> list:
    return [cell for cell in content.cells if cell.cell_type == "code"]


def prose(content) -> str:
    return "\n".join(cell.source for cell in content.cells if cell.cell_type == "markdown")


def test_every_lesson_has_exercises_and_solutions():
    assert LESSONS
    assert [p.name for p in LESSONS] == [p.name for p in EXERCISES] == [p.name for p in SOLUTIONS]


@pytest.mark.parametrize("path", LESSONS + SOLUTIONS, ids=title)
def test_notebooks_are_saved_as_they_ran_from_top_to_bottom(path):
    cells = code(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]
    assert sum(bool(cell.outputs) for cell in cells) >= len(cells) / 3


@pytest.mark.parametrize("path", EVERY, ids=title)
def test_notebooks_are_small(path):
    assert path.stat().st_size < 2_000_000
    lengths = [len(cell.source.splitlines()) for cell in code(read(path))]
    assert statistics.median(lengths) < 10
    assert max(lengths) <= 24


@pytest.mark.parametrize("path", LESSONS, ids=title)
def test_lessons_fit_into_a_session(path):
    content = read(path)
    assert len(content.cells) <= 60
    assert len(prose(content).split()) <= 2500


@pytest.mark.parametrize("path", LESSONS, ids=title)
def test_every_prediction_has_a_box_that_is_printed_back(path):
    cells = read(path).cells
    boxes = [
        cells[i + 1] for i, cell in enumerate(cells) if cell.cell_type == "markdown" and "**Predict" in cell.source
    ]
    assert boxes
    assert [cell for cell in boxes if cell.cell_type != "code" or not cell.source.startswith("my_guess = ")] == []
    assert sum("{my_guess}" in cell.source for cell in cells) >= len(boxes)


@pytest.mark.parametrize("path", LESSONS, ids=title)
def test_numbers_to_change(path):
    assert prose(read(path)).count("**Now change a number and run again.**") >= 2


@pytest.mark.parametrize("number", ["04", "09"])
def test_the_student_trains_by_hand(number):
    (path,) = FOLDER.glob(f"{number}_*.ipynb")
    source = "\n".join(cell.source for cell in code(read(path)))
    assert "total.backward()" in source
    assert "optimizer.step()" in source


@pytest.mark.parametrize("path", EXERCISES, ids=title)
def test_two_hints_for_every_exercise(path):
    text = prose(read(path))
    assert text.count("<summary>First hint</summary>") == text.count("<summary>Second hint</summary>") == 3


@pytest.mark.parametrize("path", EVERY, ids=title)
def test_badges_and_setup_cell_are_those_of_the_library(path):
    content = read(path)
    assert notebook.badges(title(path)) in prose(content)
    assert sum(cell.source == notebook.setup_cell() for cell in code(content)) == 1


@pytest.mark.parametrize("path", EVERY, ids=title)
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(read(path)))
    local = [link for link in links if "://" not in link and not link.startswith("attachment:")]
    assert local
    for link in local:
        file, _, anchor = link.partition("#")
        if file:
            assert (path.parent / file).exists(), link
        if file.endswith("GLOSSARY.md") and anchor:
            assert anchor in ANCHORS, link


def test_instructor_notes_name_every_lesson_and_their_links_lead_somewhere():
    text = (FOLDER / "INSTRUCTOR.md").read_text(encoding="utf-8")
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    assert not [link for link in links if not (FOLDER / link).exists()]
    assert {link for link in links if link.endswith(".ipynb")} == {path.name for path in LESSONS}
    assert not [path.name for path in LESSONS if f"### {path.name[:2]} · " not in text]


def test_instructor_notes_repeat_the_scores_of_the_results():
    texts = [(FOLDER / name).read_text(encoding="utf-8") for name in ("INSTRUCTOR.md", "../docs/RESULTS.md")]
    notes, readme = (re.findall(r"(\d+\.\d ± \d+\.\d) \| (\d+\.\d ± \d+\.\d)", text) for text in texts)
    assert len(notes) == 12
    assert set(notes) <= set(readme)


@pytest.mark.parametrize("path", LESSONS, ids=title)
def test_lessons_have_goals_predictions_checks_and_takeaways(path):
    content = read(path)
    text = prose(content)
    goals = re.search(r"(?i)(?:learning goals|you will)[^\n]*\n+((?:(?:[-*]|\d+\.) .+\n(?: +.+\n)*)+)", text)
    assert goals, "no list of learning goals"
    assert 3 <= len(re.findall(r"(?m)^(?:[-*]|\d+\.) ", goals[1])) <= 5
    assert text.count("**Predict") >= 1
    assert text.count("<b>Answer") >= 1
    assert re.search(r"(?m)^## .*takeaways", text, re.IGNORECASE)
    assert sum("assert" in cell.source for cell in code(content)) >= 2
    assert re.search(r"\*\*Figure \d+", text)


@pytest.mark.parametrize("path", EXERCISES + SOLUTIONS, ids=title)
def test_three_exercises_each_with_a_check(path):
    content = read(path)
    assert len(re.findall(r"(?m)^## Exercise \d", prose(content))) == 3
    assert sum("assert" in cell.source for cell in code(content)) >= 3


@pytest.mark.parametrize("path", EVERY, ids=title)
def test_outputs_name_no_place_on_the_machine_that_ran_them(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(?:home|root|tmp|work|Users)/\w", text)


def member(module: str, name: str):
    """What ``from module import name`` gives; None where it fails."""
    with suppress(ModuleNotFoundError):
        importlib.import_module(f"{module}.{name}")  # a submodule becomes an attribute by being imported
    return getattr(importlib.import_module(module), name, None)


@pytest.mark.parametrize("path", EVERY, ids=title)
def test_notebooks_use_names_that_the_library_has(path):
    """Found within seconds of a change of names, and not when the notebook runs at the end of all tests."""
    plain = TransformerManager().transform_cell("\n".join(cell.source for cell in code(read(path))))
    nodes = list(ast.walk(ast.parse(plain)))
    imported = {
        (node.module, alias.name): member(node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("partlib", "partlib_course")
        for alias in node.names
    }
    modules = {name: found for (_, name), found in imported.items() if isinstance(found, ModuleType)}
    used = {
        (node.value.id, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
    }
    assert used  # at least notebook.setup
    assert not [f"{module}.{name}" for (module, name), found in imported.items() if found is None]
    assert not [f"{module}.{name}" for module, name in used if not hasattr(modules[module], name)]
