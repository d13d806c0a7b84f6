"""What a publisher hands out: a tree of files, loose or in archives, the same bytes each time.

Archives carry no time of day and no owner, and have their members in order of name.
"""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

WHEN = datetime(2022, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Archive:
    """An archive (zip, tar or 7z by its name) of the files below `below`.

    without: leading part of the members' names that they lose.
    """

    name: str
    below: str = ""
    without: str = ""

    def members(self, tree: Mapping[str, bytes]) -> dict[str, bytes]:
        """Name in the archive -> content of those files of a `tree` that it holds."""
        return {
            name.removeprefix(self.without): content
            for name, content in sorted(tree.items())
            if name.startswith(self.below)
        }

    def packed(self, tree: Mapping[str, bytes]) -> bytes:
        """Content of the archive."""
        pack = {".zip": zipped, ".tar": _tarred, ".7z": _seven_zipped}[Path(self.name).suffix]
        return pack(self.members(tree))


def leave(folder: Path, tree: Mapping[str, bytes], archives: list[Archive] | None = None) -> None:
    """Write a tree (path -> content) below `folder`, as it is or in these archives instead."""
    if archives is not None:
        tree = {archive.name: archive.packed(tree) for archive in archives}
    for name, content in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def zipped(members: Mapping[str, bytes]) -> bytes:
    """Content of a zip of these members."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, date_time=WHEN.timetuple()[:6])
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return content.getvalue()


def apple_double(rng: np.random.Generator) -> bytes:
    """A `._name` file as a Mac leaves it beside `name`: an AppleDouble header and one attribute."""
    mark = f"0081;5b6a0000;Safari;{rng.bytes(16).hex().upper()}".encode()
    header = bytes.fromhex("00051607 00020000") + b"Mac OS X        " + bytes.fromhex("0001")
    entry = b"".join(number.to_bytes(4, "big") for number in (9, 38, len(mark)))
    return header + entry + mark


def _tarred(members: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), int(WHEN.timestamp())
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


def _seven_zipped(members: Mapping[str, bytes]) -> bytes:
    import py7zr

    content = io.BytesIO()
    with py7zr.SevenZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(data, name)
        stamp = py7zr.helpers.ArchiveTimestamp.from_datetime(WHEN.timestamp())
        for member in archive.header.files_info.files:
            member.update(creationtime=stamp, lastwritetime=stamp, lastaccesstime=stamp)
    return content.getvalue()
