"""Downloads that survive a bad network, and archives unpacked without leaving their folder.

`pooch` supplies the hashing; it cannot resume, so the transfer itself is here.
"""

import json
import os
import shutil
import stat
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

import pooch
import requests
from tqdm.auto import tqdm

from partlib.errors import DataError

ATTEMPTS = 3  # fruitless ones in a row until a source is given up
PAUSE = 1.0  # seconds of waiting per fruitless attempt so far
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 14  # bytes; at most this much of what arrived is lost when a connection breaks


class _SourceFailed(Exception):
    """One source could not deliver; the message says why. The next one is tried."""


def fetch(
    url: str, path: str | Path, sha256: str | None = None, size: int | None = None, mirrors: Sequence[str] = ()
) -> Path:
    """Download ``url`` to ``path``; return ``path``.

    The bytes go to ``path`` + ".part", which a later call continues, and get their final name once checked. A file
    that is there already is checked and kept.

    Parameters
    ----------
    url : address, http or https.
    path : file to write; its folder is made.
    sha256 : expected checksum, 64 hexadecimal digits. None: the first download is trusted, its checksum noted in
        ``hashes.json`` beside it, and later downloads of that name must match.
    size : expected size in bytes, or None.
    mirrors : further addresses of the same bytes, tried in turn.

    Raises
    ------
    DataError : no source delivered, or the file is not the expected one. The message says what was found at each.
    """
    path = Path(path)
    expected = sha256.lower() if sha256 else _noted_hash(path)
    if path.exists():
        _check(path, path, expected, size)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures = []
    for source in (url, *mirrors):
        try:
            _download(source, part)
            found = _check(part, path, expected, size)
        except _SourceFailed as failure:
            failures.append(f"{source}: {failure}")
            continue
        if expected is None:
            _note_hash(path, found)
        os.replace(part, path)
        return path
    raise DataError(
        f"{path.name} could not be downloaded ({'; '.join(failures)}); run the same command again to continue"
    )


def _download(url: str, part: Path) -> None:
    """Bring ``part`` to its full length, continuing over broken connections; raise _SourceFailed when that fails."""
    failures, longest = 0, 0
    while True:
        try:
            _transfer(url, part)
            return
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            length = part.stat().st_size if part.exists() else 0
            failures = failures + 1 if length <= longest else 0  # while bytes arrive there is hope
            longest = max(longest, length)
            if failures == ATTEMPTS:
                raise _SourceFailed(f"the connection failed {ATTEMPTS} times in a row, last with {error}") from error
            time.sleep(failures * PAUSE)
        except requests.RequestException as error:
            raise _SourceFailed(str(error)) from error


def _transfer(url: str, part: Path) -> None:
    """One request: ask for what ``part`` lacks and append it."""
    have = part.stat().st_size if part.exists() else 0
    # "identity": a compressed transfer would make the byte counts of Range mean something else.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # nothing after these bytes: the file is whole, or is not this file
            if answer.headers.get("Content-Range") == f"bytes */{have}":
                return
            part.unlink()
            raise requests.ConnectionError("the unfinished download did not fit the server's file and was removed")
        answer.raise_for_status()
        resumed = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumed else 0  # a server that ignores Range sends everything again
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        _refuse_page(answer.headers.get("Content-Type", ""), part)
        with (
            open(part, "ab" if resumed else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem) as bar,
        ):
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size < total:
        raise requests.ConnectionError(f"the server closed after {part.stat().st_size} of {total} bytes")


def _refuse_page(content_type: str, part: Path) -> None:
    if "html" in content_type and not part.stem.endswith((".html", ".htm")):
        raise _SourceFailed(
            "the server sent a web page instead of the file (a login, quota or network sign-in page?); open the "
            "address in a browser to see it"
        )


def _check(file: Path, path: Path, sha256: str | None, size: int | None) -> str:
    """SHA-256 of ``file``, the download of ``path``, after checking it; an unusable ``.part`` is removed.

    Raises _SourceFailed for a fresh download (another source may be good), DataError for a file that was there before.
    """
    found = pooch.file_hash(str(file), alg="sha256")
    problem = None
    with open(file, "rb") as opened:
        start = opened.read(512).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")) and path.suffix not in (".html", ".htm"):
        problem = "it is a web page, not the file (a login, quota or network sign-in page?)"
    elif size is not None and file.stat().st_size != size:
        problem = f"it has {file.stat().st_size} bytes, expected {size}"
    elif sha256 is not None and found != sha256:
        problem = (
            f"its SHA-256 is {found}, expected {sha256}: damaged, or changed at the source (if you trust the change, "
            f"remove {path.name} from {_hash_file(path)})"
        )
    elif path.suffix == ".zip" and not zipfile.is_zipfile(file):
        problem = "it is not a complete zip archive"
    if problem is None:
        return found
    if file == path:
        raise DataError(f"{path}: {problem}; delete the file and run the same command again")
    file.unlink()
    raise _SourceFailed(f"{problem}; the download was removed")


def _hash_file(path: Path) -> Path:
    return path.parent / "hashes.json"


def _hashes(path: Path) -> dict[str, str]:
    file = _hash_file(path)
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except ValueError as error:
        raise DataError(f"{file}: expected JSON, found {error}; delete it to trust the next downloads anew") from error


def _noted_hash(path: Path) -> str | None:
    return _hashes(path).get(path.name)


def _note_hash(path: Path, sha256: str) -> None:
    hashes = _hashes(path) | {path.name: sha256}
    draft = _hash_file(path).with_suffix(".json.part")
    draft.write_text(json.dumps(hashes, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(draft, _hash_file(path))


def extract(archive: str | Path, destination: str | Path) -> Path:
    """Unpack a zip or tar archive into the new folder ``destination``; return it.

    A single folder at the top of the archive (as GitHub makes) is left out. The folder appears only when complete.

    Raises
    ------
    DataError : ``destination`` exists; the archive is damaged; or a member would land outside ``destination``
        (an absolute path, "..", a link), in which case nothing is unpacked.
    """
    archive, destination = Path(archive), Path(destination)
    if destination.exists():
        raise DataError(f"{destination} exists already; remove or rename it to unpack {archive.name} again")
    destination.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix=".unpack-", dir=destination.parent))
    try:
        _unpack(archive, workspace)
        top = list(workspace.iterdir())
        os.replace(top[0] if len(top) == 1 and top[0].is_dir() else workspace, destination)
    # Only what a damaged archive raises; a full disk keeps its own error.
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError) as error:
        raise DataError(f"{archive}: damaged archive ({error}); delete it and download it again") from error
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    destination.chmod(0o755)  # temporary folders are private to their owner
    return destination


def _unpack(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened_zip:
            infos = opened_zip.infolist()
            for info in infos:
                _refuse_escape(archive, info.filename, stat.S_ISLNK(info.external_attr >> 16))
            for info in tqdm(infos, f"unpacking {archive.name}", unit="file"):
                _write(folder / info.filename, None if info.is_dir() else opened_zip.open(info))
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as opened_tar:
            members = opened_tar.getmembers()
            for member in members:
                _refuse_escape(archive, member.name, not (member.isfile() or member.isdir()))
            for member in tqdm(members, f"unpacking {archive.name}", unit="file"):
                _write(folder / member.name, opened_tar.extractfile(member))
    else:
        raise DataError(f"{archive}: expected a zip or tar archive; delete it and download it again")


def _refuse_escape(archive: Path, member: str, is_special: bool) -> None:
    parts = PurePosixPath(member.replace("\\", "/"))
    if is_special or parts.is_absolute() or ".." in parts.parts or ":" in member:
        what = "is a link or device" if is_special else "would land outside the folder"
        raise DataError(f"{archive}: member {member!r} {what}; nothing was unpacked, do not use this archive")


def _write(path: Path, content: IO[bytes] | None) -> None:
    """Write one member, or make a folder where ``content`` is None. Modes and owners of the archive are ignored."""
    if content is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, open(path, "wb") as file:
        shutil.copyfileobj(content, file)
