"""Whether a fetched file is the published one, and stays the one that was fetched first.

checksums.json (the `lock` here) remembers what was found:
{file: {"bytes", "mtime_ns", "sha256", "md5", "verified_by": "sha256", "md5" or "first use",
"first_use"}}. A file is named by its path from the folder of the lock, or by its name alone if it
lies elsewhere.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import lzma
import tarfile
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from piecemeal.errors import InputError
from piecemeal.provenance import write_text

log = logging.getLogger(__name__)

BLOCK = 1 << 20  # bytes read at a time
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)
BROKEN += (OSError, ValueError)
AGAIN = "delete the file and fetch it again"


@dataclass(frozen=True)
class Expected:
    """What is published of a file: its size and its checksums (hex); None where it is not.

    repacked: whether its server may pack it anew, so that a file of other sums may be right too.
    """

    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    repacked: bool = False


class WrongFileError(InputError):
    """A file is not the one expected. reason: how it shows; remedy: what to do."""

    def __init__(self, path: Path, reason: str, remedy: str = AGAIN):
        super().__init__(f"{path}: {reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class _Record:
    """One entry of the lock."""

    bytes: int
    mtime_ns: int
    sha256: str
    md5: str
    verified_by: str = "first use"
    first_use: bool = True


def verify(path: Path, expected: Expected, lock: Path) -> str:
    """Check a file; returns its SHA-256 (hex).

    A published SHA-256 must match and then decides alone. If only an MD5 is published it must
    match, and the SHA-256 goes into `lock`. If no sum is published the file is tested as the
    archive that its name says it is, and then recorded (`first_use` true). So it is, with a
    warning, if it has another than the published sum but is one that may be `repacked`. What `lock`
    says holds from then on, unless a published sum overrules it.

    A file whose size and modification time are still those in `lock` is not read again: an archive
    of 24 GB takes minutes. So what changes bytes and restores the time goes unnoticed; delete the
    entry to have the file read. Callers hold a lock of their own against a second process.

    Raises WrongFileError, an InputError that says what was expected, what was found and what to do;
    and InputError if the file or `lock` cannot be read.
    """
    path, lock = Path(path), Path(lock)
    records = _read(lock)
    name = _name(path, lock)
    known = records.get(name)
    found = _measure(path, expected, known)
    verified_by = _compare(path, expected, found, known, lock)
    if verified_by == "first use" and known is None:
        check_archive(path)
    record = asdict(found) | {
        "verified_by": verified_by,
        "first_use": verified_by == "first use",
    }
    if known is None or record != asdict(known):
        lines = {key: asdict(value) for key, value in records.items()} | {name: record}
        write_text(lock, json.dumps(lines, indent=1, sort_keys=True) + "\n")
    return found.sha256


def check_archive(path: Path) -> None:
    """Read an archive to its end: .zip, .tar (also compressed), .gz and .7z, told by the name.

    Checks whatever sums the format has; the files in an uncompressed tar have none. Other files
    must only not be empty. What is encrypted, or packed in a way that Python cannot read, is not
    tested: a warning says so. Raises WrongFileError.
    """
    if path.stat().st_size == 0:
        raise WrongFileError(path, "expected some content, found an empty file")
    name = path.name.lower()
    try:
        if name.endswith(".zip"):
            _test_zip(path)
        elif name.endswith(".7z"):
            _test_7z(path)
        else:
            if name.endswith((".gz", ".tgz")):
                _test_gzip(path)
            if name.endswith((".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")):
                _test_tar(path)
    except BROKEN as error:
        kind = path.suffix.lstrip(".")
        raise WrongFileError(path, f"expected a sound {kind} archive, found: {error!r}") from None


def _test_zip(path: Path) -> None:
    bad = None
    try:
        with zipfile.ZipFile(path) as archive:
            readable = not any(member.flag_bits & 1 for member in archive.infolist())
            if readable:
                bad = archive.testzip()
    except NotImplementedError:  # a way of packing that Python's zipfile does not know
        readable = False
    if not readable:
        log.warning("%s: encrypted or packed in an unusual way; its content is not tested", path)
    if bad is not None:
        raise zipfile.BadZipFile(f"bad CRC of {bad}")


def _test_7z(path: Path) -> None:
    import py7zr  # here, because one data set in many needs it
    from py7zr.exceptions import ArchiveError, PasswordRequired

    try:
        with py7zr.SevenZipFile(path) as archive:
            bad = archive.testzip()  # `test` looks at sums that most archives do not have
    except PasswordRequired:
        log.warning("%s: encrypted; its content is not tested", path)
        return
    except ArchiveError as error:
        raise EOFError(f"{type(error).__name__} {error}") from None
    if bad is not None:
        raise EOFError(f"bad CRC of {bad}")


def _test_gzip(path: Path) -> None:
    with gzip.open(path) as file:
        while file.read(BLOCK):
            pass


def _test_tar(path: Path) -> None:
    with tarfile.open(path, "r|*") as archive:  # a stream: nothing is skipped by seeking
        for _ in archive:
            pass


def _name(path: Path, lock: Path) -> str:
    path, folder = path.absolute(), lock.absolute().parent
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _read(lock: Path) -> dict[str, _Record]:
    if not lock.exists():
        return {}
    try:
        content = json.loads(lock.read_text(encoding="utf-8"))
        return {name: _Record(**entry) for name, entry in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{lock}: expected the checksums of files fetched before, found: {error}; restore it, "
            "or delete it to check all files afresh"
        ) from None


def _measure(path: Path, expected: Expected, known: _Record | None) -> _Record:
    """Size, time and sums of the file; the sums from `known` if the file was not touched since."""
    try:
        state = path.stat()
        # First, because it needs no reading, and tells a file that is not complete from a wrong one
        if expected.bytes is not None and state.st_size != expected.bytes:
            raise WrongFileError(path, f"expected {expected.bytes} bytes, found {state.st_size}")
        if known and (known.bytes, known.mtime_ns) == (state.st_size, state.st_mtime_ns):
            return known
        log.info("%s: computing checksums of %d bytes", path, state.st_size)
        sums = [hashlib.sha256(), hashlib.md5(usedforsecurity=False)]
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                for digest in sums:
                    digest.update(block)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); put the file there, or fetch it again"
        ) from None
    return _Record(state.st_size, state.st_mtime_ns, *(digest.hexdigest() for digest in sums))


def _compare(
    path: Path, expected: Expected, found: _Record, known: _Record | None, lock: Path
) -> str:
    """What the file was verified by. Raises WrongFileError."""
    kind = _published(path, expected, found, first=known is None)
    if kind == "sha256":
        return kind
    # Another published MD5 than the one recorded means another release; the same MD5 with another
    # SHA-256 means a forgery.
    another = kind == "md5" and known is not None and known.md5 != found.md5
    if known is not None and known.sha256 != found.sha256 and not another:
        raise WrongFileError(
            path,
            f"expected sha256 {known.sha256}, as recorded in {lock} when the file was first "
            f"fetched, found {found.sha256}",
            "the file changed, here or at its source: put the former one back, or delete the entry "
            f"{_name(path, lock)!r} in {lock} to accept the new one",
        )
    if kind:
        return kind
    return known.verified_by if known else "first use"


def _published(path: Path, expected: Expected, found: _Record, first: bool) -> str:
    """The published sum that the file has, "sha256" or "md5"; "" if none is published.

    "" as well, with a warning at `first`, if it differs as it may. Raises WrongFileError.
    """
    kind = next((kind for kind in ("sha256", "md5") if getattr(expected, kind)), "")
    if not kind:
        return ""
    published, actual = getattr(expected, kind), getattr(found, kind)
    if actual == published.lower():
        return kind
    differs = f"expected {kind} {published}, found {actual}"
    if not expected.repacked:
        raise WrongFileError(path, differs)
    if first:
        log.warning(
            "%s: %s; its server may have packed it anew, so it is taken if the archive is sound, "
            "and has to stay as it is: compare the files in it before you trust them",
            *(path, differs),
        )
    return ""
