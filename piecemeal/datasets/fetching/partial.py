"""A download that has not ended: what came so far, and of which version of which address.

<target>.part       the first bytes of the file
<target>.part.json  {"url", "etag", "last_modified", "total"} of the answer they came with

Both survive whatever ends the process, so that the next one goes on from there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from piecemeal.errors import InputError
from piecemeal.provenance import write_text


@dataclass(frozen=True)
class Version:
    """What a server says of a file; total: its size in bytes, None where it does not tell."""

    url: str
    etag: str | None = None
    last_modified: str | None = None
    total: int | None = None

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str], total: int | None) -> Version:
        """The version that an answer with these headers belongs to."""
        return cls(url, headers.get("ETag"), headers.get("Last-Modified"), total)

    @property
    def validator(self) -> str | None:
        """What may stand in If-Range: a strong ETag, else the date (RFC 9110, 13.1.5)."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def continues(self, before: Version) -> bool:
        """Whether bytes of this version may follow those of `before`.

        Of one address, whatever both tell must agree; where a strong ETag does, dates do not count.
        ETags of two mirrors are not comparable: the sizes must be known and equal, and the
        checksum decides in the end.
        """
        if self.url != before.url:
            return self.total is not None and self.total == before.total
        pairs = [(self.etag, before.etag), (self.total, before.total)]
        if self.etag != before.etag or self.validator != self.etag:
            pairs.append((self.last_modified, before.last_modified))
        agreed = [one == other for one, other in pairs if one is not None and other is not None]
        return bool(agreed) and all(agreed)


class Partial:
    """The two files beside `target`."""

    def __init__(self, target: Path):
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")
        self.version = self._read()

    @property
    def size(self) -> int:
        """Bytes that came so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def complete(self) -> bool:
        """Whether every byte came that the server said there are."""
        return self.version is not None and self.size == self.version.total

    def resume_from(self, url: str) -> int:
        """The byte to ask `url` for next; 0 if what is there is of no use."""
        known = self.version
        if known is None:
            return 0
        if known.total is None:
            return self.size if known.url == url and known.validator else 0
        return self.size if self.size <= known.total else 0

    def begin(self, version: Version) -> None:
        """Forget what came so far; what comes is of `version`."""
        # In this order: the bytes of one version are never noted as those of another.
        self.path.write_bytes(b"")
        self._write(version)

    def go_on(self, version: Version) -> None:
        """What comes is of `version`, which continues what is there."""
        known = asdict(self.version)
        told = {key: value for key, value in asdict(version).items() if value is not None}
        if version.url != self.version.url:  # its ETag and date say nothing of another mirror
            known = {"total": self.version.total}
        self._write(Version(**known | told))

    def _write(self, version: Version) -> None:
        if version != self.version:
            write_text(self.note, json.dumps(asdict(version), indent=1) + "\n")
            self.version = version

    def finish(self) -> None:
        """Make it the target, once it surely lies on the disk."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self.target)
        self.note.unlink(missing_ok=True)
        self.version = None

    def _read(self) -> Version | None:
        try:
            return Version(**json.loads(self.note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def content_range(header: str | None) -> tuple[int | None, int | None]:
    """First byte and total size of a Content-Range header, None for what it does not tell."""
    match = re.fullmatch(r"\s*bytes\s+(?:(\d+)-\d+|\*)/(\d+|\*)\s*", header or "", re.IGNORECASE)
    if match is None:
        return None, None
    start, total = match.groups()
    return int(start) if start else None, int(total) if total != "*" else None


def needed_bytes(target: Path, total: int) -> int:
    """Bytes still to come until `target` has `total`, less what is there in part or whole."""
    if target.exists():
        return 0
    return max(total - Partial(target).size, 0)


def check_free_space(folder: Path, needed: int, what: str) -> None:
    """Raise InputError if the disk of `folder` has less than `needed` bytes free for `what`."""
    if shutil.disk_usage(folder).free < needed:
        raise no_space(folder, needed, what)


def no_space(folder: Path, needed: int, what: str) -> InputError:
    """The error to raise where `folder` has less than `needed` bytes free for `what`."""
    free = shutil.disk_usage(folder).free
    return InputError(
        f"{folder}: {what} needs {needed} bytes ({needed / 1e9:.1f} GB) more, found {free} bytes "
        f"({free / 1e9:.1f} GB) free; make room or use another disk, then run the same again: what "
        "came so far is kept"
    )
