"""Archives that try to get out, to fill the disk or to fill the memory; and the ordinary ones, which come out whole."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from modelkit.archives import Limits, unpack
from modelkit.errors import UserError

LIMITS = Limits(files=20, size_bytes=1_000_000)


def make_zip(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return path


def make_tar(path: Path, *members: tarfile.TarInfo, content: bytes = b"") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def refusal(archive: Path, limits: Limits = LIMITS) -> str:
    """The code of the refusal; what was unpacked until then lies inside the target only."""
    target = archive.parent / "inside" / "out"
    with pytest.raises(UserError) as caught:
        unpack(archive, target, limits)
    assert caught.value.field == "file"
    assert {path.name for path in archive.parent.iterdir()} <= {archive.name, "inside"}
    assert {path.name for path in (archive.parent / "inside").iterdir()} <= {"out"}
    assert not any(path.is_symlink() for path in target.rglob("*"))
    return caught.value.code


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_ordinary_archive_comes_out_whole(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "model"
    (source / "deep" / "er").mkdir(parents=True)
    # Sizes at the seams of tar's blocks and of gzip's buffers.
    sizes = [0, 1, 511, 512, 513, 1024, 8192, 10240, 131072, 131072 * 2]
    for size in sizes:
        (source / "deep" / f"{size}.bin").write_bytes(os.urandom(size))
    (source / "deep" / "er" / ("long" * 40 + ".txt")).write_text("a name longer than a tar header holds")
    archive = tmp_path / f"model.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as made:
            for path in sorted(source.rglob("*")):
                made.write(path, path.relative_to(tmp_path))
    else:
        with tarfile.open(archive, "w:gz") as packed:
            packed.add(source, "model")
    seen: list[float] = []
    unpack(archive, tmp_path / "out", LIMITS, progress=seen.append)
    for path in source.rglob("*"):
        there = tmp_path / "out" / path.relative_to(tmp_path)
        assert there.is_dir() if path.is_dir() else there.read_bytes() == path.read_bytes()
    assert seen == sorted(seen)
    assert seen[-1] > 0.5


@pytest.mark.parametrize(
    "name",
    [
        "../evil", "a/../../evil", "/evil", "//evil", "..\\evil", "C:/evil", "a/..", "\x00evil", "a\nb", "x" * 300,
        "/".join(["d"] * 12), "é" * 250,
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    assert refusal(make_tar(tmp_path / "a.tar.gz", member(name), content=b"x")) == "archive_unsafe"
    if "\x00" not in name:  # a zip's name ends there
        (tmp_path / "zip").mkdir()
        assert refusal(make_zip(tmp_path / "zip" / "a.zip", {name: b"x"})) == "archive_unsafe"


@pytest.mark.parametrize(
    "entry",
    [
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("link", tarfile.SYMTYPE, "inside.txt"),
        member("hard", tarfile.LNKTYPE, "/etc/passwd"),
        member("pipe", tarfile.FIFOTYPE),
        member("disk", tarfile.BLKTYPE),
        member("null", tarfile.CHRTYPE),
        member("sparse", tarfile.GNUTYPE_SPARSE),
        member("contiguous", tarfile.CONTTYPE),
    ],
    ids=lambda entry: entry.name,
)
def test_what_is_no_plain_file_is_refused(tmp_path: Path, entry: tarfile.TarInfo) -> None:
    assert refusal(make_tar(tmp_path / "a.tar.gz", entry)) == "archive_unsafe"


def test_writing_through_a_link_is_impossible(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar.gz", member("d", tarfile.SYMTYPE, "/tmp"), member("d/evil"), content=b"x")
    assert refusal(archive) == "archive_unsafe"


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_what_is_no_plain_file_in_a_zip_is_refused(tmp_path: Path, mode: int) -> None:
    entry = zipfile.ZipInfo("thing")
    entry.external_attr = (mode | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    assert refusal(tmp_path / "a.zip") == "archive_unsafe"


def test_a_name_used_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("model.safetensors", b"one")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("model.safetensors", b"two")
    assert refusal(tmp_path / "a.zip") == "archive_unsafe"


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(make_tar(tmp_path / "a.tar.gz", member("a"), member("a/b"), content=b"x")) == "archive_unsafe"


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"config.json": b"{}"}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    archive.write_bytes(content)
    assert refusal(archive) == "archive_unsafe"


def _zip_bomb(path: Path) -> None:
    make_zip(path, {"zeros": b"\0" * 30_000_000})


def _lying_zip_bomb(path: Path) -> None:
    """The tables claim a kilobyte; the content is more."""
    make_zip(path, {"zeros": b"\0" * 30_000_000})
    content = path.read_bytes().replace(struct.pack("<I", 30_000_000), struct.pack("<I", 1000))
    path.write_bytes(content)


def _tar_bomb(path: Path) -> None:
    make_tar(path, member("zeros"), content=b"\0" * 30_000_000)


def _padding_bomb(path: Path) -> None:
    """Nothing but zeros behind the end of the archive's only member, whose size claims them."""
    entry = member("zeros")
    entry.size = 1 << 40
    with gzip.open(path, "wb") as file:
        file.write(entry.tobuf(tarfile.GNU_FORMAT))
        for _block in range(40):
            file.write(b"\0" * (1 << 20))


def _name_bomb(path: Path) -> None:
    """A name of 200 MB, which a reader would hold in memory to look at."""
    entry = member("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    entry.size = 200 << 20
    with gzip.open(path, "wb") as file:
        file.write(entry.tobuf(tarfile.GNU_FORMAT))
        for _block in range(200):
            file.write(b"a" * (1 << 20))


def _many_files(path: Path) -> None:
    make_zip(path, {f"{number}.txt": b"" for number in range(21)})


def _many_folders(path: Path) -> None:
    make_tar(path, *(member(f"{number}", tarfile.DIRTYPE) for number in range(21)))


@pytest.mark.parametrize(
    ("build", "codes"),
    [
        (_zip_bomb, {"archive_too_large"}),
        (_lying_zip_bomb, {"archive_damaged", "archive_too_large"}),
        (_tar_bomb, {"archive_too_large"}),
        (_padding_bomb, {"archive_too_large"}),
        (_name_bomb, {"archive_unsafe", "archive_too_large"}),
        (_many_files, {"archive_too_large"}),
        (_many_folders, {"archive_too_large"}),
    ],
)
def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path, build: Callable[[Path], None], codes: set[str]) -> None:
    archive = tmp_path / "bomb.archive"
    build(archive)
    before = psutil.Process().memory_info().rss
    assert refusal(archive) in codes
    assert psutil.Process().memory_info().rss - before < 64 << 20
    written = sum(path.stat().st_size for path in (tmp_path / "inside").rglob("*") if path.is_file())
    assert written <= LIMITS.size_bytes


def test_a_zip_with_an_endless_directory_is_not_read(tmp_path: Path) -> None:
    names = {f"{number:0200}": b"" for number in range(20_000)}
    assert refusal(make_zip(tmp_path / "a.zip", names, zipfile.ZIP_STORED)) == "archive_unsafe"


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("cut", [5, 30, 200, 0.5, 0.95])
def test_a_torn_archive_is_refused(tmp_path: Path, kind: str, cut: float) -> None:
    archive = tmp_path / f"a.{kind}"
    noise = os.urandom(50_000)
    if kind == "zip":
        make_zip(archive, {"weights": noise})
    else:
        make_tar(archive, member("weights"), content=noise)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(cut if cut > 1 else len(content) * cut)])
    assert refusal(archive) == "archive_damaged"


@pytest.mark.parametrize("content", [b"", b"PK", b"text,label\n", b"\x80\x04pickle", b"Rar!\x1a\x07\x00"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "a.bin"
    archive.write_bytes(content)
    assert refusal(archive) == "archive_unknown"


def test_progress_may_stop_it(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(fraction: float) -> None:
        raise Enough

    with pytest.raises(Enough):
        unpack(make_zip(tmp_path / "a.zip", {"a": b"x"}), tmp_path / "out", LIMITS, progress=stop)
