"""``python -m docs.make_site [FOLDER]``: the course as a site, by default in build/site.

Sphinx reads a copy of the texts and executed notebooks, laid out as in the repository, in which links to what is no
page lead to the repository (or nowhere, while it has no place), and figures have their captions as alternative text.
"""

import argparse
import importlib.util
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from partlib_course.notebook import REPOSITORY
from sphinx.cmd.build import build_main

import partlib
from notebooks.editions import LINK
from partlib.errors import ConfigError
from partlib.paths import claim

ROOT = Path(__file__).resolve().parent.parent
MARK = ".nojekyll"  # of a folder that this has made; GitHub then shows folders whose names begin with _, too
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "data/README.md", "docs/*.md", "notebooks/*.md")
NOTEBOOKS = ("notebooks/*.ipynb", "notebooks/exercises/*.ipynb", "notebooks/solutions/*.ipynb")
PICTURES = ("figures/*.png", "figures/results/**/*.png")
TRY = """<p class="try"><a href="parts/index.html">Try it in the browser</a>
<a href="notebooks/00_start_here.html">Start the course</a> <a href="slides/index.html">Slides</a></p>"""
MORE = """# Slides, and parts in the browser

<a href="slides/index.html">Slides</a>: a deck for every lesson, with the answers in the speaker's notes (press S).

<a href="parts/index.html">Parts in the browser</a>: drop a photograph, and a shipped network finds its object and its
parts. Nothing is installed, and the photograph stays on your machine. [Lesson 12](notebooks/12_your_own.ipynb) says
what one sees there, [use](docs/USE.md) how to export a network of your own.
"""
CAPTION = re.compile(r"\*\*(?:Figure|Table) \d+\.\*\* (.+)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "site")
    target = parser.parse_args().folder
    started = time.perf_counter()
    try:
        claim(target, MARK)
    except ConfigError as error:
        sys.exit(str(error).replace("pass another --out", "name another folder"))
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / MARK).touch()
    # the networks of the page are exported, and the slides cut, while Sphinx builds the rest
    with (
        in_background("docs.parts_page", target / "parts"),
        in_background("docs.make_slides", target / "slides"),
        TemporaryDirectory() as folder,
    ):
        lay_out(Path(folder))
        code = build_main(["-W", "--keep-going", "-q", "-j", "2", "-c", str(ROOT / "docs"), folder, str(target)])
    if code:
        return code
    shutil.rmtree(target / ".doctrees")
    copy_mathjax(target / "_static" / "mathjax")
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target / 'index.html'}: {size / 1e6:.0f} MB in {time.perf_counter() - started:.0f} s")
    return 0


@contextmanager
def in_background(module: str, target: Path) -> Iterator[None]:
    """Run ``python -m module target``, on one thread, beside the lines within; CalledProcessError if it fails."""
    command = [sys.executable, "-m", module, str(target.resolve())]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        yield
    except BaseException:
        process.kill()
        raise
    finally:
        code = process.wait()
    if code:
        raise subprocess.CalledProcessError(code, command)


def copy_mathjax(target: Path) -> None:
    """What formulae are set with, of a package that holds all of MathJax."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    assert spec is not None
    assert spec.origin is not None
    there = Path(spec.origin).parent / "static" / "mathjax"
    for name in ("tex-chtml.js", "output/chtml/fonts", "input/tex/extensions"):
        if (there / name).is_dir():
            shutil.copytree(there / name, target / name)
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(there / name, target / name)


def lay_out(source: Path) -> None:
    """Copy what becomes pages, and the pictures that they show, to ``source``."""
    pages = {path for pattern in (*PAGES, *NOTEBOOKS) for path in ROOT.glob(pattern)}
    for path in sorted(pages):
        target = source / place_of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".ipynb":
            nbformat.write(notebook_page(nbformat.read(path, as_version=4), path, pages), target)
        else:
            text = with_links(path.read_text(encoding="utf-8"), path, pages)
            if not re.search(r"^## ", text, re.MULTILINE):  # the glossary: levels of headings shall not be left out
                text = re.sub(r"^### ", "## ", text, flags=re.MULTILINE)
            text = re.sub(r"(?<=\d) ± (?=\d)", "\u00a0±\u00a0", text)  # stays on one line of a phone
            target.write_text(text, encoding="utf-8")
    for path in (picture for pattern in PICTURES for picture in ROOT.glob(pattern)):
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    write_api(source / "api")
    (source / "more.md").write_text(MORE, encoding="utf-8")
    (source / "index.md").write_text(front_page(source / "index.md"), encoding="utf-8")


def place_of(path: Path) -> Path:
    """Where a page lies in the source of the site; the README is its front."""
    place = path.relative_to(ROOT)
    return Path("index.md") if place == Path("README.md") else place


def with_links(text: str, path: Path, pages: set[Path]) -> str:
    """The text of a page in which every link leads to a page, or to the repository."""

    def mended(match: re.Match) -> str:
        words, link = match.groups()
        file, _, anchor = link.partition("#")
        if "://" in link or not file or link.startswith("mailto:"):
            return match[0]
        there = (path.parent / file).resolve()
        if there == ROOT / "README.md":
            up = os.path.relpath(ROOT / "index.md", path.parent)
            return f"[{words}]({up}{'#' + anchor if anchor else ''})"
        if there in pages or there.suffix == ".png":
            return match[0]
        if REPOSITORY:
            return f"[{words}](https://github.com/{REPOSITORY}/blob/main/{there.relative_to(ROOT).as_posix()})"
        return words

    return LINK.sub(mended, text)


def notebook_page(content: nbformat.NotebookNode, path: Path, pages: set[Path]) -> nbformat.NotebookNode:
    """The notebook with links mended, and figures described by the captions below them."""
    for number, cell in enumerate(content.cells):
        if cell.cell_type == "markdown":
            cell.source = with_links(cell.source, path, pages)
            continue
        below = content.cells[number + 1].source if number + 1 < len(content.cells) else ""
        caption = CAPTION.match(below)
        if caption:
            plain = LINK.sub(r"\1", caption[1]).replace("*", "").replace("`", "")
            cell.metadata["mystnb"] = {"image": {"alt": plain[:300]}}
        else:
            cell.metadata["mystnb"] = {"image": {"alt": "what this cell draws"}}
    return content


def modules() -> list[str]:
    """The method's modules in the order to read them, as partlib's first page has it, and then all others."""
    method = [
        f"partlib.{place.replace('/', '.')}" for place in re.findall(r"^ ?\d+\. (\S+)", partlib.__doc__ or "", re.M)
    ]
    every = [module.name for module in pkgutil.walk_packages(partlib.__path__, "partlib.")]
    return method + [name for name in every if name not in method and not name.endswith("__main__")]


def write_api(folder: Path) -> None:
    """A page for each module."""
    folder.mkdir(parents=True)
    for name in modules():
        directive = f".. automodule:: {name}\n   :members:\n   :undoc-members:\n   :ignore-module-all:"
        (folder / f"{name}.md").write_text(f"# {name}\n\n```{{eval-rst}}\n{directive}\n```\n", encoding="utf-8")
    text = (
        "# API\n\nThe method's fifteen modules come first, in the order to read them.\n\n```{toctree}\n:maxdepth: 1\n\n"
    )
    (folder / "index.md").write_text(text + "\n".join(modules()) + "\n```\n", encoding="utf-8")


def front_page(path: Path) -> str:
    """The README, with the contents of the site at its end."""
    lessons = [f"notebooks/{file.stem}" for file in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    more = [f"notebooks/{kind}/{Path(file).name}" for kind in ("exercises", "solutions") for file in lessons]
    trees = {
        "The course": lessons,
        "Exercises": more,
        "To look up": ["docs/CHEATSHEET", "notebooks/GLOSSARY", "notebooks/PROJECTS", "notebooks/INSTRUCTOR", "more"],
        "The reproduction": ["docs/RESULTS", "docs/REPRODUCTION", "docs/QUIRKS", "docs/SPEED"],
        "The library": ["docs/USE", "api/index", "data/README", "docs/LICENCES", "CHANGELOG", "CONTRIBUTING"],
    }
    text = path.read_text(encoding="utf-8").replace("\n\n", f"\n\n{TRY}\n\n", 1)
    for title, names in trees.items():
        text += f"\n```{{toctree}}\n:caption: {title}\n:hidden:\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```\n"
    return text


if __name__ == "__main__":
    sys.exit(main())
