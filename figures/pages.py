"""Tables that stand between two markers in a page of the documentation."""

from pathlib import Path


def between(text: str, name: str, inner: str) -> str:
    """``text`` with other lines between the markers of a table."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    return f"{text.split(begin)[0]}{begin}\n{inner}\n{end}{text.split(end)[1]}"


def replace(page: Path, name: str, inner: str) -> None:
    """Other lines between the markers of a table in a file."""
    page.write_text(between(page.read_text(encoding="utf-8"), name, inner), encoding="utf-8")
