"""Downloads that survive a bad network, and archives unpacked without leaving their folder."""

import os
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pooch
import requests
from tqdm.auto import tqdm

from partlib.errors import DataError
from partlib.paths import write_atomically

Archive = tuple[str, str | None, str]  # address, SHA-256 where it is known, folder inside the data set
ATTEMPTS = 5  # per call; the next one continues where this one stopped
PAUSE = 1.0  # seconds of waiting per attempt so far
SAFE: dict = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # shutil itself watches over zip archives


def fetch(url: str, path: Path, sha256: str | None = None) -> Path:
    """Download ``url`` to ``path``, unless it is there; the bytes gather in ``path`` + ".part" and are then checked."""
    part = path.with_name(path.name + ".part")

    def download(url: str, to: str, _: object) -> None:
        _complete(url, part)
        os.replace(part, to)

    try:
        pooch.retrieve(url, sha256, path.name, path.parent, downloader=download)
    except (ValueError, requests.RequestException) as error:  # a wrong checksum, or no answer
        remedy = "run the same command again to continue, or open the address in a browser: it may have moved"
        raise DataError(f"{path}: {url} could not be downloaded ({' '.join(str(error).split())}); {remedy}") from error
    return path


def _complete(url: str, part: Path) -> None:
    """Ask for what ``part`` lacks until it is whole; pooch itself would begin anew."""
    for attempt in range(1, ATTEMPTS + 1):
        have = part.stat().st_size if part.exists() else 0
        # "identity": of a compressed transfer Range would count other bytes
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={have}-"}
        try:
            with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
                if answer.status_code == 416:  # there is nothing after these bytes
                    return
                answer.raise_for_status()
                have = have if answer.status_code == 206 else 0  # a server without Range sends everything again
                total = have + int(answer.headers.get("Content-Length", 0))
                bar = tqdm(total=total or None, initial=have, unit="B", unit_scale=True, desc=part.stem)
                with open(part, "ab" if have else "wb") as file, bar:
                    for chunk in answer.iter_content(1 << 14):
                        bar.update(file.write(chunk))
            if part.stat().st_size >= total:
                return
            raise requests.ConnectionError(f"the server closed after {part.stat().st_size} of {total} bytes")
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
            if attempt == ATTEMPTS:
                raise
            time.sleep(attempt * PAUSE)


def install(destination: Path, archives: Sequence[Archive], check: Callable[[Path], object]) -> Path:
    """Download archives and unpack them to ``destination``, which appears only when complete and checked.

    Nothing happens where it is. The one folder at the top of an archive, as GitHub makes it, is left out.
    """
    if destination.is_dir() and any(destination.iterdir()):
        check(destination)
        return destination
    files = {folder: fetch(url, destination.parent / Path(url).name, sha256) for url, sha256, folder in archives}

    def unpack(whole: Path) -> None:
        for number, (folder, file) in enumerate(files.items()):
            workspace = whole.with_name(f"unpacked-{number}")
            try:
                shutil.unpack_archive(file, workspace, **({} if file.suffix == ".zip" else SAFE))
            except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
                raise DataError(f"{file}: not a whole archive ({error}); delete it and download it again") from error
            tops = [path for path in workspace.iterdir() if path.is_dir()]
            shutil.move(tops[0] if len(tops) == 1 else workspace, whole / folder)
        check(whole)

    write_atomically(destination, unpack)
    for file in files.values():
        file.unlink()
    return destination
