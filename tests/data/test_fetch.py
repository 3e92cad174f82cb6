"""Downloads from a local server that can break off, ignore Range, send pages or fail; archives that try to escape."""

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from partlib.data import fetch as fetching
from partlib.data.fetch import extract, fetch
from partlib.errors import DataError

CONTENT = np.random.default_rng(0).bytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.files``; ``server.breaks`` answers stop halfway; ``server.ranges``: whether Range is obeyed."""

    def do_GET(self):
        self.server.requests.append((self.path, self.headers.get("Range")))
        if self.path == "/page":
            return self.answer(200, b"<!DOCTYPE html><html>Please sign in</html>", {"Content-Type": "text/html"})
        if self.path == "/disguised":
            return self.answer(200, b"\n<html>Quota exceeded</html>", {"Content-Type": "application/zip"})
        if self.path not in self.server.files:
            return self.answer(404, b"nothing here", {})
        body = self.server.files[self.path]
        wanted = self.headers.get("Range")
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            return self.answer(206, body[start:], {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"})
        return self.answer(200, body, {})

    def answer(self, status, body, headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks > 0 and status in (200, 206):
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args):
        """Keep the test output quiet."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.files, running.breaks, running.ranges, running.requests = {"/data.bin": CONTENT}, 0, True, []
    running.url = f"http://127.0.0.1:{running.server_address[1]}"
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def test_a_download_arrives_whole_under_its_final_name_only(server, tmp_path):
    path = fetch(f"{server.url}/data.bin", tmp_path / "new" / "data.bin", sha256=SHA256, size=len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["data.bin"]


def test_a_file_that_is_there_is_not_downloaded_again(server, tmp_path):
    for _ in range(2):
        fetch(f"{server.url}/data.bin", tmp_path / "data.bin", sha256=SHA256)
    assert len(server.requests) == 1


def test_a_broken_connection_is_resumed_where_it_stopped(server, tmp_path):
    server.breaks = 2
    path = fetch(f"{server.url}/data.bin", tmp_path / "data.bin", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    first, second, third = (wanted for _, wanted in server.requests)
    assert first is None
    starts = [int(wanted.removeprefix("bytes=").rstrip("-")) for wanted in (second, third)]
    assert 0 < len(CONTENT) // 2 - starts[0] < fetching.CHUNK  # what had arrived is asked for no more
    assert starts[0] < starts[1] < len(CONTENT)


def test_a_later_call_continues_an_unfinished_download(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:123_456])
    assert fetch(f"{server.url}/data.bin", tmp_path / "data.bin", sha256=SHA256).read_bytes() == CONTENT
    assert server.requests == [("/data.bin", "bytes=123456-")]


def test_an_unfinished_download_that_is_complete_needs_no_more_bytes(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    assert fetch(f"{server.url}/data.bin", tmp_path / "data.bin", sha256=SHA256).read_bytes() == CONTENT


def test_an_unfinished_download_longer_than_the_file_starts_over(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(f"{server.url}/data.bin", tmp_path / "data.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_server_that_ignores_range_sends_everything_again(server, tmp_path):
    server.ranges, server.breaks = False, 1
    assert fetch(f"{server.url}/data.bin", tmp_path / "data.bin", sha256=SHA256).read_bytes() == CONTENT


def test_a_connection_that_never_completes_is_given_up_and_keeps_what_it_has(server, tmp_path):
    server.ranges, server.breaks = False, 100
    with pytest.raises(DataError, match="connection failed 3 times"):
        fetch(f"{server.url}/data.bin", tmp_path / "data.bin")
    assert not (tmp_path / "data.bin").exists()
    assert 0 < (tmp_path / "data.bin.part").stat().st_size <= len(CONTENT) // 2


def test_a_wrong_checksum_names_file_expected_and_found_and_leaves_nothing(server, tmp_path):
    with pytest.raises(DataError) as caught:
        fetch(f"{server.url}/data.bin", tmp_path / "data.bin", sha256="0" * 64)
    assert all(text in str(caught.value) for text in ("data.bin", "0" * 64, SHA256))
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_size_is_refused(server, tmp_path):
    with pytest.raises(DataError, match="700000 bytes, expected 700001"):
        fetch(f"{server.url}/data.bin", tmp_path / "data.bin", size=700_001)


@pytest.mark.parametrize("page", ["page", "disguised"])
def test_a_web_page_instead_of_an_archive_is_explained(server, tmp_path, page):
    with pytest.raises(DataError, match="web page"):
        fetch(f"{server.url}/{page}", tmp_path / "data.zip")
    assert list(tmp_path.iterdir()) == []


def test_the_next_mirror_is_tried_after_a_404_a_page_and_a_wrong_file(server, tmp_path):
    server.files["/other.bin"] = b"something else"
    first, *mirrors = (f"{server.url}/{name}" for name in ("missing", "page", "other.bin", "data.bin"))
    path = fetch(first, tmp_path / "data.bin", sha256=SHA256, mirrors=mirrors)
    assert path.read_bytes() == CONTENT


def test_the_error_lists_what_each_source_answered(server, tmp_path):
    with pytest.raises(DataError) as caught:
        fetch(f"{server.url}/missing", tmp_path / "data.bin", mirrors=[f"{server.url}/page"])
    assert "404" in str(caught.value)
    assert "web page" in str(caught.value)


def test_without_a_checksum_the_first_download_is_noted_and_a_changed_one_refused(server, tmp_path):
    url, path = f"{server.url}/data.bin", tmp_path / "data.bin"
    fetch(url, path)
    assert json.loads((tmp_path / "hashes.json").read_text()) == {"data.bin": SHA256}
    path.unlink()
    server.files["/data.bin"] = CONTENT[::-1]
    with pytest.raises(DataError, match=SHA256):
        fetch(url, path)
    assert not path.exists()


def test_a_file_damaged_on_disk_is_found_by_its_noted_checksum(server, tmp_path):
    path = fetch(f"{server.url}/data.bin", tmp_path / "data.bin")
    path.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(DataError, match="delete the file"):
        fetch(f"{server.url}/data.bin", path)


def test_half_a_zip_archive_is_never_trusted(server, tmp_path):
    server.files["/half.zip"] = b"PK\x03\x04" + CONTENT
    with pytest.raises(DataError, match="not a complete zip"):
        fetch(f"{server.url}/half.zip", tmp_path / "half.zip")
    assert not (tmp_path / "hashes.json").exists()


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_extract_leaves_out_a_single_top_folder(make, tmp_path):
    archive = make(tmp_path / "a", {"repo-main/one.txt": b"1", "repo-main/sub/two.txt": b"2"})
    folder = extract(archive, tmp_path / "out")
    assert (folder / "one.txt").read_bytes() == b"1"
    assert (folder / "sub" / "two.txt").read_bytes() == b"2"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "out"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:\\evil"])
def test_extract_refuses_members_outside_the_folder_and_unpacks_nothing(make, name, tmp_path):
    (tmp_path / "work").mkdir()
    archive = make(tmp_path / "work" / "a", {"good": b"1", name: b"2"})
    with pytest.raises(DataError, match="outside the folder"):
        extract(archive, tmp_path / "work" / "out")
    assert [file.name for file in tmp_path.rglob("*")] == ["work", "a"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_extract_refuses_links_and_devices_in_a_tar(kind, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "../../etc/passwd"
        archive.addfile(info)
    with pytest.raises(DataError, match="link or device"):
        extract(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_extract_refuses_links_in_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc")
    with pytest.raises(DataError, match="link or device"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_a_damaged_archive_is_named_and_leaves_no_folder(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"one": CONTENT})
    damaged = bytearray(archive.read_bytes())
    damaged[1000] ^= 255
    archive.write_bytes(damaged)
    with pytest.raises(DataError, match=r"a\.zip: damaged"):
        extract(archive, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_extract_refuses_what_is_no_archive_and_an_existing_folder(tmp_path):
    (tmp_path / "a.zip").write_bytes(CONTENT[:100])
    with pytest.raises(DataError, match="expected a zip or tar"):
        extract(tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(DataError, match="exists already"):
        extract(tmp_path / "a.zip", tmp_path)
