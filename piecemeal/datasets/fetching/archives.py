"""Unpack an archive that came from elsewhere: all of it safely, or nothing at all.

An archive is a list of instructions by a stranger: where to write, what to link, how much. So
every member is checked before the first byte is written, and the tree gets its name only when it
is complete.
"""

import errno
import os
import resource
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from piecemeal.datasets.members import (
    DAMAGE,
    Entry,
    checked,
    is_junk,
    kind_of_mode,
    refusal,
    zip_entries,
)
from piecemeal.errors import InputError

_BLOCK = 2**20
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_TAR_KINDS = {
    **dict.fromkeys(tarfile.REGULAR_TYPES, "file"),
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "fifo",
}


def extract(
    archive: Path,
    folder: Path,
    *,
    kind: Literal["zip", "tar", "7z"],
    password: str | None = None,
    limit_bytes: int | None = None,
) -> None:
    """Unpack `archive` (a tar may be compressed) as the new folder `folder`, without junk.

    limit_bytes: largest sum of the members' sizes; by default 200 times the archive and 1 GiB.
    A zip with encryption or a compression that Python lacks is given to the program 7z or 7zz;
    while it runs, the list of processes shows the password to everybody on the machine.

    Raises InputError, naming archive and member, and leaves nothing behind when a path is
    absolute or leads out of the folder, when a member is a link or device or is there twice, when
    the content is too large for the limit or the disk, or damaged.
    """
    archive, folder = Path(archive), Path(folder).absolute()
    if not archive.is_file():
        raise InputError(f"{archive}: is missing; download it or copy it there")
    if folder.is_symlink() or folder.exists():
        raise InputError(f"{folder}: is already there; delete it to unpack {archive} again")
    partial = folder.with_name(f"{folder.name}.partial")
    _remove(partial)
    partial.mkdir(parents=True)
    unpack = {"zip": _unpack_zip, "tar": _unpack_tar, "7z": _unpack_7z}[kind]
    try:
        with _reading(archive):
            unpack(archive, partial, password, limit_bytes)
        os.sync()  # once for thousands of files: the name says that all of them are there
        partial.rename(folder)
    except BaseException:
        _remove(partial)
        raise


def _tar_entries(source: tarfile.TarFile) -> Iterator[Entry]:
    for member in source:
        kind = _TAR_KINDS.get(member.type, "special file")
        yield Entry(member.name, member.size, kind, member)
    # tarfile takes a broken header for the end, and never gets to the checksum of gzip.
    source.fileobj.seek(source.offset)
    if source.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError(f"no member and no end mark at byte {source.offset}")
    while source.fileobj.read(_BLOCK):
        pass


def _7z_entries(source: Any) -> Iterator[Entry]:
    for member in source.files:
        linked = member.is_symlink or member.is_junction
        kind = "symbolic link" if linked else kind_of_mode(member.st_fmt or 0, member.is_directory)
        yield Entry(member.filename, member.uncompressed, kind, member)


def _unpack_zip(archive: Path, partial: Path, password: str | None, limit: int | None) -> None:
    with zipfile.ZipFile(archive) as source:
        files = _prepared(archive, partial, zip_entries(source), limit)
        if not all(map(_python_reads, files.values())):
            _unpack_by_program(source, partial, files, password)
            _compare(archive, partial, files)
            return
        for name, entry in files.items():
            with _reading(archive, entry), source.open(entry.source) as content:
                _write(content, entry, partial / name)


def _unpack_tar(archive: Path, partial: Path, password: str | None, limit: int | None) -> None:
    with tarfile.open(archive) as source:
        for name, entry in _prepared(archive, partial, _tar_entries(source), limit).items():
            # A second opinion, which raises TarError; Python has it from 3.11.4 on.
            getattr(tarfile, "data_filter", _no_opinion)(entry.source, str(partial))
            with _reading(archive, entry), source.extractfile(entry.source) as content:
                _write(content, entry, partial / name)


def _no_opinion(member: tarfile.TarInfo, folder: str) -> None:
    pass


def _unpack_7z(archive: Path, partial: Path, password: str | None, limit: int | None) -> None:
    import py7zr

    class Files(py7zr.io.WriterFactory):
        """Makes py7zr write plain files only: no links, no modes."""

        def create(self, filename: str) -> Any:
            return Path(filename).open("xb")

    try:
        with py7zr.SevenZipFile(archive, password=password) as source:
            files = _prepared(archive, partial, _7z_entries(source), limit)
            source.extract(partial, [entry.name for entry in files.values()], factory=Files())
        _compare(archive, partial, files)
    except py7zr.PasswordRequired:
        raise InputError(f"{archive}: is encrypted; give its password") from None
    except py7zr.exceptions.ArchiveError as error:
        raise ValueError(*error.args) from None


def _unpack_by_program(
    source: zipfile.ZipFile, partial: Path, files: dict[str, Entry], password: str | None
) -> None:
    """Unpack a zip whose listing is checked by 7-Zip, then look whether it wrote just that."""
    archive, encrypted = Path(source.filename), any(map(_is_encrypted, files.values()))
    why = "is encrypted" if encrypted else "is compressed in a way that Python cannot read"
    by_hand = f"unpack it by hand into {partial.with_name(partial.name.removesuffix('.partial'))}"
    if encrypted and password is None:
        raise InputError(f"{archive}: {why}; give its password, or {by_hand}")
    program = shutil.which("7z") or shutil.which("7zz")
    if program is None:
        raise InputError(f"{archive}: {why}; install p7zip (the program 7z or 7zz), or {by_hand}")
    largest = max(info.file_size for info in source.infolist())
    done = subprocess.run(
        [program, "x", "-y", f"-p{password or ''}", f"-o{partial}", str(archive.absolute())],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)),
    )
    if done.returncode:
        said = " ".join(f"{done.stdout} {done.stderr}".split())[-300:]
        raise InputError(
            f"{archive}: {program} failed with code {done.returncode} ({said}); check the "
            f"password, copy or download the archive again, or {by_hand}"
        )
    _plain_files(partial, archive)  # refuses links, before anything is done to the tree
    for path in sorted(partial.rglob("*"), reverse=True):
        if is_junk(path.relative_to(partial).as_posix()):
            path.rmdir() if path.is_dir() else path.unlink()


def _prepared(
    archive: Path, partial: Path, entries: Iterable[Entry], limit: int | None
) -> dict[str, Entry]:
    """The files to write into `partial`, which has every folder of the archive and the space."""
    members = checked(archive, entries, limit)
    needed = sum(entry.bytes for entry in members.values() if entry.kind == "file")
    free = shutil.disk_usage(partial).free
    if needed > free:
        raise InputError(
            f"{archive}: unpacking needs {needed} bytes, the disk of {partial.parent} has {free} "
            "free; make room there"
        )
    for name, entry in members.items():
        target = partial / name
        (target if entry.kind == "folder" else target.parent).mkdir(parents=True, exist_ok=True)
    return {name: entry for name, entry in members.items() if entry.kind == "file"}


def _write(content: IO[bytes], entry: Entry, target: Path) -> None:
    left = entry.bytes
    with target.open("xb") as file:
        while block := content.read(_BLOCK):
            left -= len(block)
            if left < 0:
                break
            file.write(block)
    if left:
        raise EOFError(f"its size is not the declared {entry.bytes} bytes")


def _compare(archive: Path, partial: Path, files: dict[str, Entry]) -> None:
    """Raise InputError unless `partial` has the files that the archive listed, and no other."""
    sizes = {name: path.stat().st_size for name, path in _plain_files(partial, archive).items()}
    if different := sizes.items() ^ {name: entry.bytes for name, entry in files.items()}.items():
        raise InputError(
            f"{archive}: {min(different)[0]!r} came out of it otherwise than listed in it; copy or "
            "download it again, or unpack it by hand"
        )


def _is_encrypted(entry: Entry) -> bool:
    return bool(entry.source.flag_bits & 1)


def _python_reads(entry: Entry) -> bool:
    return entry.source.compress_type in _ZIP_METHODS and not _is_encrypted(entry)


def _plain_files(folder: Path, named: Path) -> dict[str, Path]:
    """Every file by its relative path. Raises InputError, with `named`, on a link or device."""

    def fail(error: OSError) -> None:
        raise error

    files = {}
    for above, folders, names in os.walk(folder, onerror=fail):
        for path in (Path(above, name) for name in (*folders, *names)):
            kind = kind_of_mode(path.lstat().st_mode)
            if kind == "file":
                files[path.relative_to(folder).as_posix()] = path
            elif kind != "folder":
                raise refusal(named, path.relative_to(folder).as_posix(), f"is a {kind}")
    return files


@contextmanager
def _reading(archive: Path, entry: Entry | None = None) -> Iterator[None]:
    """Turn what the libraries raise on damage into InputError; a full disk is not damage."""
    try:
        yield
    except InputError:
        raise
    except (*DAMAGE, tarfile.TarError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        what = f"member {entry.name!r} is" if entry else "is not such an archive, or"
        raise InputError(
            f"{archive}: {what} damaged ({error}); copy or download it again"
        ) from None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
