"""``python -m docs.make_slides [FOLDER]``: a reveal.js deck of every lesson, made by nbconvert from the saved outputs.

Tags on cells choose the slides; each shows less than its cell does:

``slide``           A markdown cell gives a heading, some sentences and a formula, list, table or commands; the first is
                    the title, "What you will learn" and "Key takeaways" give their lists. A code cell gives its output
                    alone, a figure, table or short text, under the heading of its section. Below stand the first
                    sentences of its caption, or the question if a guess is printed back, or the paragraph before.
``slide-question``  The ``**Predict.**`` paragraph of a markdown cell; the answer is in the speaker's notes (press S).
``slide-code``      Code without imports, at most 12 lines: of a longer cell the longest function that has no more. A
                    cell with both tags has its text output below.

Folded answers, set-up, links and the code of checks are never shown. Decks load nothing from outside of their folder.
"""

import argparse
import ast
import base64
import re
import shutil
import sys
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from textwrap import dedent

import nbformat
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from PIL import Image

from notebooks.editions import ANSWER, LINK

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS, LOOK = ROOT / "notebooks", ROOT / "docs" / "slides"
NO_SECTIONS = ("What you will learn", "Set-up", "Check yourself")  # figures below them have another heading
KINDS = {"heading": r"#|\*\*What you will learn", "formula": r"\$\$", "list": r"[*-] |1\. ", "table": r"\|"}
KINDS |= {"commands": "```", "question": r"\*\*Predict", "caption": r"\*\*(Figures?|Table) \d", "change": r"\*\*Now"}
REVEAL = ("dist/reveal.js", "dist/reveal.css", "plugin/notes/notes.js", "LICENSE")
INDEX = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Slides</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="assets/slides.css"><body class="index"><h1>Slides</h1><ul>{}</ul></body></html>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "slides")
    folder = parser.parse_args().folder
    if folder.exists() and not (folder / "assets/slides.css").exists() and (folder.is_file() or any(folder.iterdir())):
        sys.exit(f"{folder} holds other files; expected a new or empty folder, or older slides: name another")
    packages = {name: find_spec(name) for name in ("sphinx_revealjs", "sphinx-mathjax-offline")}
    if missing := [name.replace("_", "-") for name, spec in packages.items() if not spec]:
        sys.exit(f"slides need {' and '.join(missing)}, not installed here: pip install '.[site]'")
    reveal, mathjax = (Path(spec.origin).parent for spec in packages.values() if spec and spec.origin)
    (folder / "assets").mkdir(parents=True, exist_ok=True)
    reveal_files = [reveal / "_static/revealjs" / name for name in REVEAL]
    for path in [*reveal_files, mathjax / "static/mathjax/tex-svg.js", LOOK / "slides.css"]:
        shutil.copy(path, folder / "assets")
    exporter = SlidesExporter(raw_template=(LOOK / "slides.html.j2").read_text(encoding="utf-8"))
    decks = {
        path.stem: deck(nbformat.read(path, as_version=4).cells) for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    }
    for name, (title, slides) in decks.items():
        cells = [nbformat.v4.new_markdown_cell(metadata={"slide": slide}) for slide in slides]
        book = nbformat.v4.new_notebook(cells=cells, metadata={"title": title})
        (folder / f"{name}.html").write_text(exporter.from_notebook_node(book)[0], encoding="utf-8")
    index = "\n".join(f'<li><a href="{name}.html">{title}</a></li>' for name, (title, _) in decks.items())
    (folder / "index.html").write_text(INDEX.format(index), encoding="utf-8")
    print(f"{len(decks)} decks are in {folder}")


def deck(cells: list[NotebookNode]) -> tuple[str, list[dict]]:
    """The title of a lesson and its slides, as the template takes them."""
    title = cells[0].source.removeprefix("# ").strip()
    slides = [{"layout": "title", "head": title, "text": lead(blocks_of(cells[2])[0][1], 2, 350)}]
    head = title.partition(" · ")[2]
    for i, cell in enumerate(cells[1:], start=1):
        tags, blocks = cell.metadata.get("tags", []), blocks_of(cell)
        if "slide" in tags and blocks:
            slides.append(idea(blocks, head))
        head = next((text for kind, text in blocks[::-1] if kind == "heading" and text not in NO_SECTIONS), head)
        if "slide-question" in tags:
            answer = re.sub("<.*?>", "", ANSWER.search("\n".join(c.source for c in cells[i:]))[0])
            asked = last("question", cells[: i + 1])
            slides.append({"layout": "question", "head": head, "text": asked, "note": answer})
        if cell.cell_type == "code" and {"slide", "slide-code"} & set(tags):
            slides.append({"head": head, **output(cells, i, tags)})
    for s in slides:
        s |= {"text": linked(s["text"].replace(" %", "\u00a0%")), "note": linked(s.get("note", ""), decks=False)}
    return title, slides


def blocks_of(cell: NotebookNode) -> list[tuple[str, str]]:
    """The paragraphs of a markdown cell with their kinds, without folded answers; headings without numbers."""
    source = ANSWER.sub("", cell.source) if cell.cell_type == "markdown" else ""
    texts = [text.strip() for text in re.split(r"\n\s*\n", source) if text.strip()]
    kinds = [next((kind for kind, start in KINDS.items() if re.match(start, text)), "text") for text in texts]
    names = [re.sub(r"^[#*]+ ?(\d+\. )?|\*\*$| \(optional\)", "", text) for text in texts]
    return [(k, name if k == "heading" else text) for k, name, text in zip(kinds, names, texts, strict=True)]


def lead(text: str, most: int = 3, size: int = 270, end: bool = False) -> str:
    """The first sentences of a text (or the last ones), at most so many and about so long."""
    sentences = re.split(r"(?<=[.?!])\s+(?=[A-Z*$\"(\[`])", text.replace("\n", " "))
    sentences = [s for s in sentences if not re.search("running kernel|slider|to look for", s)] or sentences
    sentences, kept = sentences[::-1] if end else sentences, []
    for sentence in sentences[:most]:
        if kept and len(linked(" ".join([*kept, sentence]), decks=False)) > size:
            break
        kept.append(sentence)
    return re.sub(":$", ".", " ".join(kept[::-1] if end else kept))


def idea(blocks: list[tuple[str, str]], heading: str) -> dict:
    """What a markdown cell shows: of goals and takeaways the list, or else its first section."""
    names = [name if kind == "heading" else "" for kind, name in blocks]
    if start := [name for name in names if name == "Key takeaways"] or [name for name in names if name]:
        heading, blocks = start[0], blocks[names.index(start[0]) + 1 :]
    stop = next((i for i, (kind, _) in enumerate(blocks) if kind in ("heading", "question", "change")), len(blocks))
    blocks = [block for block in blocks[:stop] if block[0] != "caption"]
    texts = [text for kind, text in blocks if kind == "text"]
    slide = {"layout": "idea", "head": heading, "note": "\n".join(texts)}
    for i, (kind, block) in enumerate(blocks):
        if kind in ("formula", "list", "table", "commands"):
            size = letters(block, 26) if kind == "commands" else 26 if len(block) < 600 else 20
            slide |= {"layout": kind, "size": size}
            if kind == "formula" and i:
                return slide | {"text": lead(blocks[i - 1][1], end=True) + f"\n\n{block}"}
            before = lead(" ".join(text for _, text in blocks[:i]), 2, 200)
            after = lead(texts[0]) if texts and not before and kind != "list" else ""
            return slide | {"text": f"{before}\n\n{block}\n\n{after}"}
    text = texts[0] if len(texts[0]) > 120 else " ".join(texts)
    return slide | {"text": lead(re.sub(r"(?<=[.?!]) [^.?!]*:$", "", text), 4, 380)}


def output(cells: list[NotebookNode], i: int, tags: list[str]) -> dict:
    """What a code cell shows, with the words below it."""
    outputs = [o for o in cells[i].outputs if o.get("name") != "stderr"]
    data = {kind: value for o in outputs for kind, value in o.get("data", {}).items()}
    text = "".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)
    caption, guessed = caption_of(cells, i), "you guessed" in text
    if picture := next((kind for kind in data if kind.startswith("image/")), None):
        width, height = Image.open(BytesIO(base64.b64decode(data[picture]))).size
        wide = min(860, int(600 * width / height))  # pixels of a slide, if the caption stands beside it
        above = min(1220 / width, 480 / height) > wide / width
        slide = {"layout": "figure" if above else "figure beside", "size": wide, "note": caption, "text": lead(caption)}
        return slide | {
            "picture": f"data:{picture};base64,{data[picture].strip()}",
            "alt": linked(lead(caption, 2), False),
        }
    words = caption or last("question" if guessed else "text", cells[:i])
    slide = {"layout": "output", "text": lead(words, 3, 240, end=guessed), "note": words}
    text = re.sub(r"(; )?you guessed None(; )?", "", text).partition("ok: ")[0]
    lines = [line for line in text.split("\n") if line.strip()] if "slide" in tags else []
    text = "\n".join(lines)
    if "slide" in tags and "text/html" in data:
        slide["table"] = re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.DOTALL).replace("NaN", "–")
        rows = [re.findall(r"<t[hd][^>]*>(.*?)</t", row) for row in slide["table"].split("<tr")]
        widths = [max(map(len, column)) + 3 for column in zip(*(row for row in rows if row), strict=False)]
        slide["size"] = max(18, min(32, 2100 // sum(widths), int((430 / len(rows) - 9) / 1.25)))
    elif lines:
        slide |= {"output": text, "size": letters(text, 32)}
    if "slide-code" in tags:
        slide |= {"layout": "code", "code": code(cells[i].source, 12 - len(lines), prints=bool(lines))}
        slide["code_size"] = letters(slide["code"], 24)
        slide |= {} if cells[i - 1].cell_type == "markdown" else {"text": ""}
    return slide


def letters(text: str, most: int) -> int:
    """The size in pixels of monospaced letters whose longest line fits on a slide; very long ones break."""
    return max(20, min(most, 1960 // max(map(len, text.split("\n")))))


def caption_of(cells: list[NotebookNode], i: int) -> str:
    """The caption of a figure or table, without its number; of one caption for two, the half that is meant."""
    after = next(j for j in range(i + 1, len(cells)) if cells[j].cell_type == "markdown")
    label, _, text = next((text for kind, text in blocks_of(cells[after]) if kind == "caption"), "").partition("** ")
    halves = re.split(r"; |(?<=\.) Then ", text, maxsplit=1)
    pictures = ["image/" in str([o.get("data", {}).keys() for o in c.outputs]) for c in cells[i:after]]
    if "Figures" in label and len(halves) == 2:
        text = halves[0] + "." if any(pictures[1:]) else halves[1][0].upper() + halves[1][1:]
    return text if "Table" in label or pictures[0] else ""


def last(kind: str, cells: list[NotebookNode]) -> str:
    """The last question of cells, or the last text of their last section."""
    blocks = [block for cell in cells for block in blocks_of(cell)]
    start = max(j for j, (found, _) in enumerate(blocks) if found == "heading") if kind == "text" else 0
    return next((text.removeprefix("**Predict.** ") for k, text in reversed(blocks[start:]) if k == kind), "")


def code(source: str, most: int, prints: bool) -> str:
    """A cell without imports, or its longest function that fits; of lines that are too long the comment goes."""
    leave, lines = ("import ", "from ") if prints else ("import ", "from ", "print("), source.split("\n")
    found = ["\n".join(line for line in lines if not line.startswith(leave)).strip()]
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    found += [dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])) for node in functions]
    chosen = max((text for text in found if text.count("\n") < most), key=lambda text: text.count("\n"))
    lines = re.sub(r"\n\n+", "\n\n", chosen).split("\n")
    return "\n".join(re.sub(r"  #.*", "", line) if len(line) > 90 else line for line in lines)


def linked(text: str, decks: bool = True) -> str:
    """Links to lessons lead to their decks, and others are text alone; without decks all are, and nothing is marked."""
    text = re.sub(r"(\[[^\]\[]+\])\((\d\d_\w+)\.ipynb(#[^)]*)?\)", r"\1(\2.html)", text)
    text = LINK.sub(lambda link: link[0] if decks and link[2].endswith(".html") else link[1], text)
    return text if decks else re.sub(r"[*`$]", "", text).strip()


if __name__ == "__main__":
    main()
