"""Downloads from a local server that can break off, ignore Range, send pages or fail; archives that try to escape."""

import hashlib
import io
import tarfile
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from partlib.data.fetch import fetch, install
from partlib.errors import DataError
from tests.data.conftest import refused

CONTENT = np.random.default_rng(0).bytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(server):
    server.files["/data.bin"] = CONTENT
    return server


def test_a_download_arrives_whole_once_under_its_final_name_only(server, tmp_path):
    for _ in range(2):
        path = fetch(f"{server.url}/data.bin", tmp_path / "new" / "data.bin", SHA256)
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["data.bin"]
    assert server.requests == [0]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_resumed_where_it_stopped_or_begun_anew(server, tmp_path, ranges):
    server.breaks, server.ranges = 2 if ranges else 1, ranges
    assert fetch(f"{server.url}/data.bin", tmp_path / "data.bin", SHA256).read_bytes() == CONTENT
    assert server.requests[0] == 0 < server.requests[1] <= len(CONTENT) // 2
    assert server.requests == sorted(server.requests)


@pytest.mark.parametrize("have", [123_456, len(CONTENT)])
def test_a_later_call_continues_an_unfinished_download(server, tmp_path, have):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:have])
    assert fetch(f"{server.url}/data.bin", tmp_path / "data.bin", SHA256).read_bytes() == CONTENT
    assert server.requests == [have]


def test_a_connection_that_never_completes_is_given_up_and_keeps_what_it_has(server, tmp_path):
    server.ranges, server.breaks = False, 100
    with refused(r"data.bin.* could not be downloaded .*run the same command again"):
        fetch(f"{server.url}/data.bin", tmp_path / "data.bin")
    assert not (tmp_path / "data.bin").exists()
    assert 0 < (tmp_path / "data.bin.part").stat().st_size <= len(CONTENT) // 2


def test_a_wrong_checksum_names_expected_and_found_and_leaves_nothing(server, tmp_path):
    with refused(f"data.bin.*{'0' * 64}.*{SHA256}"):
        fetch(f"{server.url}/data.bin", tmp_path / "data.bin", "0" * 64)
    assert server.requests == [0]
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_a_file_is_explained(server, tmp_path):
    with refused(r"404.*open the address in a browser"):
        fetch(f"{server.url}/missing", tmp_path / "data.bin")


def make_zip(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return "zip", buffer.getvalue()


def make_tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return "tgz", buffer.getvalue()


def offer(server, kind, content):
    server.files[f"/a.{kind}"] = content
    return [(f"{server.url}/a.{kind}", None, "")]


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_install_leaves_out_a_single_top_folder_and_checks_before_it_appears(make, server, tmp_path):
    archives = offer(server, *make({"repo-main/one.txt": b"1", "repo-main/sub/two.txt": b"2"}))
    folder = install(tmp_path / "out", archives, lambda root: (root / "one.txt").read_bytes())
    assert (folder / "sub" / "two.txt").read_bytes() == b"2"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    with pytest.raises(FileNotFoundError):
        install(tmp_path / "other", archives, lambda root: (root / "three.txt").read_bytes())
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil"])
def test_members_outside_the_folder_never_land_there(make, name, server, tmp_path):
    with suppress(DataError):  # refused, or unpacked without that member
        install(tmp_path / "work" / "out", offer(server, *make({"good": b"1", name: b"2"})), lambda root: None)
    places = [file.relative_to(tmp_path).parts[:2] for file in tmp_path.rglob("evil")]
    assert all(place == ("work", "out") for place in places)


@pytest.mark.parametrize("damage", [lambda zipped: zipped[: len(zipped) // 2], lambda zipped: b"<html>quota</html>"])
def test_what_is_no_whole_archive_is_named_and_leaves_no_folder(damage, server, tmp_path):
    archives = offer(server, "zip", damage(make_zip({"one": CONTENT})[1]))
    with refused(r"a\.zip: not a whole archive .*delete it"):
        install(tmp_path / "out", archives, lambda root: None)
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]
