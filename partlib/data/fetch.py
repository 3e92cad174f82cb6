"""Downloads that survive a bad network, and archives unpacked without leaving their folder."""

import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pooch
import requests

from partlib.distributed import progress_bar
from partlib.errors import DataError, brief
from partlib.paths import write_atomically

MOST_UNPACKED = 50  # times the size of an archive; lists of text shrink to a tenth, photographs not at all
PAUSES = (0, 1, 2, 3, 4)  # seconds before each try; it continues where the one before stopped
SAFE: dict = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # shutil itself watches over zip archives


def fetch(url: str, path: Path, sha256: str | None = None) -> Path:
    """Download ``url`` to ``path``, unless it is there; the bytes gather in ``path`` + ".part" and are then checked."""
    part = path.with_name(path.name + ".part")

    def append(url: str, to: str, _: object) -> None:  # what ``part`` lacks; pooch's own downloader begins anew
        have = part.stat().st_size if part.exists() else 0
        # "identity": of a compressed transfer Range would count other bytes
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={have}-"}
        with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
            if answer.status_code != 416:  # else nothing comes after these bytes
                answer.raise_for_status()
                have = have if answer.status_code == 206 else 0  # a server without Range sends everything again
                total = have + int(answer.headers.get("Content-Length", 0))
                bar = progress_bar(total=total or None, initial=have, unit="B", unit_scale=True, desc=path.name)
                with open(part, "ab" if have else "wb") as file, bar:
                    for chunk in answer.iter_content(1 << 14):
                        bar.update(file.write(chunk))
                if part.stat().st_size < total:
                    raise requests.ConnectionError(f"the server closed after {part.stat().st_size} of {total} bytes")
        part.replace(to)

    for pause in PAUSES:
        time.sleep(pause)
        try:
            pooch.retrieve(url, sha256, path.name, path.parent, downloader=append)
            return path
        except (ValueError, requests.RequestException) as error:
            last = error
            if isinstance(error, (ValueError, requests.HTTPError)):  # a wrong checksum or address stays wrong
                break
    remedy = "run the same command again to continue, or open the address in a browser: it may have moved"
    raise DataError(f"{path}: {url} could not be downloaded ({' '.join(str(last).split())}); {remedy}") from last


def check_unpacked(archive: Path) -> None:
    """DataError where an archive would unpack to more than MOST_UNPACKED times its size, or than there is room for."""
    room = shutil.disk_usage(archive.parent).free
    most, size = max(MOST_UNPACKED * archive.stat().st_size, 1 << 24), 0
    with ExitStack() as stack:
        if zipfile.is_zipfile(archive):
            sizes = (member.file_size for member in stack.enter_context(zipfile.ZipFile(archive)).infolist())
        else:  # read member by member: of a bomb no more than this is unpacked, and nothing is kept
            sizes = (member.size for member in stack.enter_context(tarfile.open(archive)))
        for member in sizes:
            size += member
            if size > most:
                found = f"unpacks to more than {most / 1e9:.1f} GB, {MOST_UNPACKED} times its size"
                raise DataError(f"{archive}: {found}; expected photographs and lists: delete it and download it again")
    if size > room:
        raise DataError(f"{archive}: unpacks to {size / 1e9:.1f} GB, {room / 1e9:.1f} GB are free there; make room")


def install(destination: Path, archives: Sequence, check: Callable[[Path], object]) -> Path:
    """Download archives and unpack them to ``destination``, unless it is there; it appears once complete and checked.

    Each is (address, SHA-256 where it is known, folder inside ``destination``); one folder at its top is left out.
    """
    if destination.is_dir() and any(destination.iterdir()):
        check(destination)
        return destination
    files = {folder: fetch(url, destination.parent / Path(url).name, sha256) for url, sha256, folder in archives}

    def unpack(whole: Path) -> None:
        for folder, file in files.items():
            place = whole.with_name(f"from {file.name}")
            try:
                check_unpacked(file)
                shutil.unpack_archive(file, place, **({} if file.suffix == ".zip" else SAFE))
            except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error) as error:
                raise DataError(
                    f"{file}: not a whole archive ({brief(error)}); delete it and download it again"
                ) from error
            tops = [path for path in place.iterdir() if path.is_dir()]
            shutil.move(tops[0] if len(tops) == 1 else place, whole / folder)
        check(whole)

    write_atomically(destination, unpack)
    for file in files.values():
        file.unlink()
    return destination
