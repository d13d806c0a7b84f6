"""The members of an archive: which are acceptable, and reading them where they are.

A data set of 145,000 files in a zip is read from the zip: `Tree` is a folder or a zip, and hands
out `Path`s or `Member`s. What a stranger's archive may hold is decided here for archives.py too.
"""

from __future__ import annotations

import functools
import lzma
import os
import re
import stat
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from piecemeal.errors import InputError
from piecemeal.provenance import file_sha256

# What grows more than this is a bomb. Scans, which come compressed already, hardly grow at all.
LARGEST_GROWTH = 200
ALWAYS_ALLOWED_BYTES = 2**30

# What the libraries raise on a damaged, encrypted or unusual archive.
_ERRORS = (EOFError, OSError, ValueError, RuntimeError)
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, *_ERRORS)
_KINDS = {
    0: "file",  # of an archive without Unix modes
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFIFO: "fifo",
}


@dataclass(frozen=True)
class Entry:
    """What an archive says of one member, before anything is unpacked.

    name: path as in the archive. bytes: declared size of the content. kind: "file", "folder" or
    the name of something that is refused. source: the description of the library that read it.
    """

    name: str
    bytes: int
    kind: str
    source: Any


def is_junk(name: str) -> bool:
    """Whether a path is what macOS leaves in archives and on foreign disks."""
    parts = name.split("/")
    return any(part in ("__MACOSX", ".DS_Store") or part.startswith("._") for part in parts)


def safe_name(where: Path, name: str) -> str:
    """The relative path `name` without `.` and doubled slashes; "" for the folder itself.

    Raises InputError, naming the archive or folder `where`, if it could lead out of a folder.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if len(parts) > 50 or any(len(part.encode(errors="replace")) > 255 for part in parts):
        raise refusal(where, name, "is too long a path")
    if "\\" in name or "\0" in name:
        raise refusal(where, name, "has a backslash or a null in its path")
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        raise refusal(where, name, "is an absolute path")
    if ".." in parts:
        raise refusal(where, name, "leads out of its folder by `..`")
    return "/".join(parts)


def checked(
    archive: Path, entries: Iterable[Entry], limit_bytes: int | None = None
) -> dict[str, Entry]:
    """The files and folders of an archive by their clean path, without junk.

    limit_bytes: largest sum of their sizes, by default 200 times the archive and 1 GiB. Raises
    InputError, naming archive and member, on a path out of the folder, a link or device, a path
    that is there twice, or a larger sum.
    """
    limit = LARGEST_GROWTH * archive.stat().st_size + ALWAYS_ALLOWED_BYTES
    limit = limit if limit_bytes is None else limit_bytes
    total, members = 0, {"": Entry("", 0, "folder", None)}  # so that no file is the folder itself
    for entry in entries:
        name = safe_name(archive, entry.name)
        if entry.kind not in ("file", "folder"):
            raise refusal(archive, entry.name, f"is a {entry.kind}")
        total += entry.bytes if entry.kind == "file" else 0
        if entry.bytes < 0 or total > limit:
            why = f"makes it {total} bytes unpacked, more than the allowed {limit}"
            raise refusal(archive, entry.name, why)
        if not is_junk(name):
            first = members.setdefault(name, entry)
            if first is not entry and "file" in (first.kind, entry.kind):
                raise refusal(archive, entry.name, "is there twice")
    del members[""]
    for name, entry in members.items():
        above = name
        while above := above.rpartition("/")[0]:
            if above in members and members[above].kind == "file":
                raise refusal(archive, entry.name, f"lies below {above!r}, which is a file")
    return members


def zip_entries(source: zipfile.ZipFile) -> Iterator[Entry]:
    """What the central directory of a zip says of each member."""
    for info in source.infolist():
        kind = kind_of_mode(info.external_attr >> 16, info.is_dir())
        yield Entry(info.filename, info.file_size, kind, info)


def kind_of_mode(mode: int, folder: bool = False) -> str:
    """What a Unix mode stands for; `folder`: whether the archive says so in another way."""
    kind = _KINDS.get(stat.S_IFMT(mode), "special file")
    return "folder" if folder and kind == "file" else kind


def refusal(where: Path, name: str, why: str) -> InputError:
    """The error to raise on member `name` of the archive or folder `where`."""
    return InputError(
        f"{where}: {name!r} {why}; expected plain files in the folder itself, once each and of a "
        "credible size; get it from its publisher again"
    )


@functools.total_ordering
@dataclass(frozen=True)
class Member:
    """A file in a zip, used like a Path; it need not be there. Sorted as Paths are, by parts."""

    archive: Path
    name: str

    def __str__(self) -> str:
        return f"{self.archive}!/{self.name}"

    def __lt__(self, other: Member) -> bool:
        return (self.archive, self.name.split("/")) < (other.archive, other.name.split("/"))

    def read_bytes(self) -> bytes:
        """The content, after its checksum was verified.

        Raises FileNotFoundError if it is missing, ValueError if it is damaged or encrypted.
        """
        opened, info = _opened(self.archive), self._info()
        try:
            with opened.lock:
                return opened.zip.read(info)
        except DAMAGE as error:
            raise ValueError(f"{self}: cannot be read from the archive ({error})") from None

    def is_file(self) -> bool:
        """Whether the archive is there and has this file."""
        with suppress(FileNotFoundError):
            return self._info() is not None
        return False

    @property
    def bytes(self) -> int:
        """Size of the content."""
        return self._info().file_size

    @property
    def crc(self) -> int:
        """CRC-32 of the content, as the archive's listing has it."""
        return self._info().CRC

    def content_id(self) -> str:
        """`crc32:<sum>:<bytes>` from the archive's listing; the content is not read."""
        return f"crc32:{self.crc:08x}:{self.bytes}"

    def _info(self) -> zipfile.ZipInfo:
        entry = _opened(self.archive).members.get(self.name)
        if entry is None or entry.kind != "file":
            raise FileNotFoundError(f"{self}: is missing")
        return entry.source


def content_id(path: Path | Member) -> str:
    """What changes with the content: SHA-256 of a file, `Member.content_id` of a member."""
    return path.content_id() if isinstance(path, Member) else file_sha256(path)


class Tree:
    """A data set's files below a folder or in a zip, without junk; only for reading.

    Paths are relative, with `/`. Links in a folder are followed: whoever set it up meant them.
    Raises InputError if `root` is missing, or a zip that is damaged or not acceptable.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        self._zipped = not self.root.is_dir()
        if not self.root.exists():
            raise InputError(f"{self.root}: is missing; expected a data set's folder or zip there")
        if self._zipped:
            _opened(self.root)

    def file(self, relative: str) -> Path | Member:
        """The file of that path, whether or not it is there. Raises InputError on `..`."""
        name = safe_name(self.root, relative)
        return Member(self.root, name) if self._zipped else self.root / name

    def files(self) -> list[str]:
        """The path of every file, sorted by parts."""
        return sorted(set(self._matches("", ["**"])), key=lambda name: name.split("/"))

    def children(self, prefix: str = "") -> list[str]:
        """Names of the folders right below `prefix`, sorted; none if it is missing."""
        return sorted(self._listing(safe_name(self.root, prefix))[0])

    def glob(self, pattern: str) -> list[Path | Member]:
        """The files whose path matches, sorted by parts: `*/segmentations/*.nii.gz`.

        `*`, `?` and `[...]` stay within one part of a path; the part `**` is any number of
        folders, and at the end every file below them.
        """
        return sorted(self.file(name) for name in set(self._matches("", pattern.split("/"))))

    def _matches(self, prefix: str, pattern: list[str]) -> Iterator[str]:
        (part, *rest), (folders, files) = pattern, self._listing(prefix.rstrip("/"))
        if part == "**":
            yield from self._matches(prefix, rest or ["*"])
            for name in folders:
                yield from self._matches(f"{prefix}{name}/", pattern)
        elif rest:
            for name in folders:
                if fnmatchcase(name, part):
                    yield from self._matches(f"{prefix}{name}/", rest)
        else:
            yield from (prefix + name for name in files if fnmatchcase(name, part))

    def _listing(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the sub-folders and of the files of one folder."""
        if self._zipped:
            return _opened(self.root).listing.get(folder, ([], []))
        folders, files = [], []
        for entry in os.scandir(self.root / folder) if (self.root / folder).is_dir() else ():
            if is_junk(entry.name):
                continue
            if entry.is_file():
                files.append(entry.name)
            elif entry.is_dir() and not (entry.is_symlink() and _is_loop(Path(entry.path))):
                folders.append(entry.name)
        return folders, files


class _Zip:
    """An open zip, its acceptable members by path, and what lies in each of its folders."""

    def __init__(self, path: Path):
        try:
            self.zip = zipfile.ZipFile(path)
        except DAMAGE as error:
            why = f"is not a zip, or damaged ({error})"
            raise InputError(f"{path}: {why}; copy or download it again") from None
        self.lock = threading.Lock()
        self.members = checked(path, zip_entries(self.zip))
        self.listing: dict[str, tuple[list[str], list[str]]] = {"": ([], [])}
        for name, entry in self.members.items():
            above, _, last = name.rpartition("/")
            if entry.kind == "file":
                self._folder(above)[1].append(last)
            else:
                self._folder(name)

    def _folder(self, name: str) -> tuple[list[str], list[str]]:
        if name not in self.listing:
            self.listing[name] = ([], [])
            above, _, last = name.rpartition("/")
            self._folder(above)[0].append(last)
        return self.listing[name]


def _opened(archive: Path) -> _Zip:
    """The archive, opened once by each process: a file shared over a fork shares its position."""
    path = Path(archive).absolute()
    state = path.stat()
    return _open(os.getpid(), path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _open(process: int, path: Path, size: int, changed: int) -> _Zip:
    return _Zip(path)


def _is_loop(link: Path) -> bool:
    """Whether a link leads to a folder above it."""
    target = os.path.realpath(link)
    return any(os.path.realpath(above) == target for above in link.absolute().parents)
