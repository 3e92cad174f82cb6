"""``partlib course``: the notebooks as a folder of one's own."""

from importlib.machinery import ModuleSpec

import nbformat
import pytest
from partlib_course import notebook

from partlib.cli import main
from partlib.report import course
from tests.conftest import REPOSITORY

NOTEBOOKS = REPOSITORY / "notebooks"


def test_the_course_is_copied_with_exercises_and_texts(tmp_path, capsys):
    folder = tmp_path / "mine"
    assert main(["course", str(folder), "--no-lab"]) == 0
    assert f"the course is in {folder}" in capsys.readouterr().out
    for pattern in ("*.ipynb", "exercises/*.ipynb", "solutions/*.ipynb"):
        assert {p.name for p in folder.glob(pattern)} == {p.name for p in NOTEBOOKS.glob(pattern)} != set()
    lesson = nbformat.read(folder / "09_training.ipynb", as_version=4)
    nbformat.validate(lesson)
    text = "\n".join(cell.source for cell in lesson.cells)
    assert "in a copy of the repository" not in text
    assert "**Running time**" in text


def test_a_copy_is_opened_as_it_is_and_other_folders_are_left_alone(tmp_path, capsys):
    folder = course.copy_course(tmp_path / "mine")
    (folder / course.FIRST).write_text("my notes", encoding="utf-8")
    assert main(["course", str(folder), "--no-lab"]) == 0
    assert (folder / course.FIRST).read_text(encoding="utf-8") == "my notes"
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").touch()
    assert main(["course", str(other), "--no-lab"]) == 1
    assert "holds other files; expected a new or empty folder, or a copy" in capsys.readouterr().err


def test_lessons_and_stored_results_of_a_wheel_are_found(tmp_path, monkeypatch):
    installed = tmp_path / "partlib_course"
    (installed / "lessons").mkdir(parents=True)
    (installed / "lessons" / course.FIRST).touch()
    spec = ModuleSpec("partlib_course", None, origin=str(installed / "__init__.py"))
    monkeypatch.setattr(course, "find_spec", lambda name: spec)
    assert course.lessons() == installed / "lessons"
    (installed / "results").mkdir()
    (installed / "results" / "birds-k4.json").write_text('{"seeds": {}}', encoding="utf-8")
    monkeypatch.setattr(notebook, "__file__", str(installed / "notebook.py"))
    monkeypatch.setattr(notebook, "repository_root", lambda: None)
    assert notebook.stored_result("birds-k4") == {"seeds": {}}


def test_without_jupyterlab_it_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(course, "find_spec", lambda name: None)
    with pytest.raises(course.ConfigError, match=r'JupyterLab is missing; pip install "partlib\[notebooks\]"'):
        course.open_lab(tmp_path)
