"""The student's edition gives nothing away, and is otherwise the course; the teacher's is the course."""

import re
import subprocess
import sys

import nbformat
import pytest

from tests.conftest import REPOSITORY

NOTEBOOKS = REPOSITORY / "notebooks"


def make(edition, folder):
    command = [sys.executable, str(NOTEBOOKS / "editions.py"), edition, str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student") / "course"
    assert make("student", folder).returncode == 0
    return folder


def test_students_get_lessons_and_exercises_without_outputs_answers_and_solutions(student):
    names = {path.relative_to(NOTEBOOKS) for path in NOTEBOOKS.glob("*.ipynb")}
    names |= {path.relative_to(NOTEBOOKS) for path in (NOTEBOOKS / "exercises").glob("*.ipynb")}
    found = {path.relative_to(student) for path in student.rglob("*.ipynb")}
    assert found == names
    others = sorted(path.name for path in student.iterdir() if path.suffix != ".ipynb")
    assert others == ["GLOSSARY.md", "PROJECTS.md", "exercises"]
    answers = 0
    for name in names:
        ours, theirs = (nbformat.read(folder / name, as_version=4) for folder in (NOTEBOOKS, student))
        nbformat.validate(theirs)
        code = [[cell.source for cell in book.cells if cell.cell_type == "code"] for book in (ours, theirs)]
        assert code[0] == code[1]
        assert not [cell for cell in theirs.cells if cell.get("outputs") or cell.get("execution_count")]
        text = "\n".join(cell.source for cell in theirs.cells if cell.cell_type == "markdown")
        assert "<b>Answer</b>" not in text
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            assert "://" in link or ((student / name).parent / link).exists(), link
        answers += text.count("teacher's edition")
    assert answers > 50


def test_teachers_get_everything_and_nothing_is_replaced(tmp_path):
    assert make("teacher", tmp_path / "all").returncode == 0
    for path in NOTEBOOKS.rglob("*.ipynb"):
        if "checkpoints" not in path.parts:
            assert (tmp_path / "all" / path.relative_to(NOTEBOOKS)).read_bytes() == path.read_bytes()
    again = make("teacher", tmp_path / "all")
    assert (again.returncode, "holds files" in again.stdout) == (1, True)
