"""From the archives of a data set to its official layout on disk.

downloads/<archive>          fetched or placed by hand, and checked; kept, and shared by all scales
downloads/checksums.json     what was checked, and how
folder/parts/<n>             one archive unpacked; survives a process that is killed
folder/download              all of them, in the official layout; appears when it is whole
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from piecemeal.dataset_specs import UNPACKED
from piecemeal.datasets.fetching.archives import extract
from piecemeal.datasets.fetching.checksums import Expected
from piecemeal.datasets.fetching.download import obtain, require_by_hand
from piecemeal.datasets.fetching.partial import check_free_space, needed_bytes
from piecemeal.datasets.members import safe_name
from piecemeal.errors import InputError
from piecemeal.provenance import share, write_text

log = logging.getLogger(__name__)

_SERIES = re.compile(r"\d+(?:\.\d+)+")  # a DICOM UID


class Wanted(NamedTuple):
    """One file to get: its name below `downloads`, mirrors, and what its archive says of it."""

    name: str
    urls: list[str]
    archive: Mapping[str, Any]


def wanted_files(archives: Sequence[Mapping[str, Any]]) -> Iterator[Wanted]:
    """Every file that the archives (as in dataset_specs) stand for, numbered ones one by one."""
    for archive in archives:
        if not archive["numbers"]:
            yield Wanted(archive["name"], list(archive["urls"]), archive)
        for first, last in archive["numbers"]:
            for number in range(first, last + 1):
                urls = [url.format(number=number) for url in archive["urls"]]
                yield Wanted(archive["name"].format(number=number), urls, archive)


def assemble(
    folder: Path,
    archives: Sequence[Mapping[str, Any]],
    downloads: Path,
    homepage: str = "",
    **options: Any,
) -> Path:
    """Fetch, check and unpack the archives; returns the folder in the official layout.

    homepage: for the message about what a person has to place by hand; options: those of
    `download`. What was fetched or unpacked before is kept: nothing is unpacked twice unless an
    archive changed. Raises InputError that says what is missing, wrong or refused.
    """
    files = list(wanted_files(archives))
    _check_by_hand(downloads, files, homepage)
    _check_space(downloads, files)
    pieces = []
    for number, file in enumerate(files, start=1):
        log.info("%s (%d of %d)", file.name, number, len(files))
        pieces += _pieces(downloads, file, homepage, options)
    whole, stamp = folder / "download", folder / "download.json"
    made_of = json.dumps([UNPACKED, *([piece.place, piece.digest] for piece in pieces)])
    if not (whole.is_dir() and stamp.is_file() and stamp.read_text() == made_of):
        stamp.unlink(missing_ok=True)
        _build(pieces, folder, whole)
        os.sync()  # what was copied where the disk cannot link, before the stamp vouches for it
        write_text(stamp, made_of)
    _discard(folder / "parts")
    return whole


class _Piece(NamedTuple):
    """A checked file, its SHA-256, how it is unpacked ("no": not at all), and where to."""

    path: Path
    digest: str
    kind: Any
    place: str
    password: str | None = None


def _pieces(
    downloads: Path, file: Wanted, homepage: str, options: Mapping[str, Any]
) -> Iterator[_Piece]:
    archive, path = file.archive, downloads / file.name
    digest = _obtain(downloads, file.name, file.urls, archive, homepage, options)
    into = _below(downloads, archive["into"])
    if archive["unpack"] == "tcia":
        for series, its_digest in _series(path, file, homepage, options):
            yield _Piece(series, its_digest, "zip", str(into / series.stem))
    elif archive["unpack"] == "no":
        yield _Piece(path, digest, "no", str(into / file.name))
    else:
        yield _Piece(path, digest, archive["unpack"], str(into), _password(archive))


def _build(pieces: Sequence[_Piece], folder: Path, whole: Path) -> None:
    partial, parts = folder / "download.partial", folder / "parts"
    for old in (partial, whole):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    for piece in pieces:
        place = partial / piece.place
        if piece.kind == "no":
            _link(piece.path, place)
            continue
        # Its name says of which content it is: a part is never one of an older archive.
        part = parts / piece.digest
        if not part.exists():
            extract(piece.path, part, kind=piece.kind, password=piece.password)
        _merge(part, place)
    partial.rename(whole)


def _discard(folder: Path) -> None:
    """Remove a folder that must never be found half there."""
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def _password(archive: Mapping[str, Any]) -> str | None:
    """The password of an archive that needs one; InputError if nobody has given it."""
    variable = archive["password_from"]
    if variable and variable not in os.environ:
        raise InputError(
            f"{archive['name']}: needs a password; put it into the environment variable {variable} "
            f"and run the same again (where it is from: {archive['by_hand'] or 'its homepage'})"
        )
    return os.environ[variable] if variable else None


def _obtain(
    downloads: Path,
    name: str,
    urls: list[str],
    archive: Mapping[str, Any],
    homepage: str,
    options: Mapping[str, Any],
) -> str:
    """Have one file, checked; returns its SHA-256."""
    expected = Expected(*(archive[key] for key in ("bytes", "sha256", "md5", "repacked")))
    target = downloads / _below(downloads, name)
    where = {"by_hand": archive["by_hand"], "homepage": homepage}
    return obtain(target, urls, expected, downloads / "checksums.json", **where, **options)


def _below(downloads: Path, name: str) -> Path:
    return Path(safe_name(downloads, name))


def _check_by_hand(downloads: Path, files: Sequence[Wanted], homepage: str) -> None:
    """Say what only a person can get before hours go into fetching the rest."""
    for file in files:
        if not file.urls:
            target = downloads / _below(downloads, file.name)
            require_by_hand(target, file.archive["by_hand"], homepage)


def _check_space(downloads: Path, files: Sequence[Wanted]) -> None:
    """Refuse to start what cannot end: the sizes of all files that are not there yet."""
    missing = [
        needed_bytes(downloads / file.name, size)
        for file in files
        if not (downloads / file.name).exists() and (size := size_of(file.archive))
    ]
    if missing:
        downloads.mkdir(parents=True, exist_ok=True)
        check_free_space(downloads, sum(missing), f"{len(missing)} archives")


def size_of(archive: Mapping[str, Any]) -> int | None:
    """Bytes of one file of an archive (as in dataset_specs): published, or about; None: unknown."""
    if archive["bytes"] or not archive["approximate_gb"]:
        return archive["bytes"]
    numbers = sum(last - first + 1 for first, last in archive["numbers"]) or 1
    return int(archive["approximate_gb"] * 1e9 / numbers)


def _series(
    manifest: Path, file: Wanted, homepage: str, options: Mapping[str, Any]
) -> Iterator[tuple[Path, str]]:
    """Zip and SHA-256 of each DICOM series in a manifest of The Cancer Imaging Archive."""
    text = manifest.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    series = [line for line in lines if _SERIES.fullmatch(line)]
    if not series:
        raise InputError(
            f"{manifest}: expected a manifest with one series UID a line, found none; delete the "
            "file and fetch it again"
        )
    # Zipped as they are asked for: neither size nor sum is the same each time.
    unknown = file.archive | {"bytes": None, "sha256": None, "md5": None}
    for uid in series:
        name = f"{Path(file.name).stem}/{uid}.zip"
        url = file.archive["series_url"].format(uid=uid)
        digest = _obtain(manifest.parent, name, [url], unknown, homepage, options)
        yield manifest.parent / name, digest


def _link(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        raise _twice(place)
    place.symlink_to(file.absolute())


def _twice(place: Path) -> InputError:
    return InputError(
        f"{place}: is in two archives of the data set; expected it in one: check `archives` in its "
        "file in config/datasets"
    )


def _merge(part: Path, place: Path) -> None:
    """Move what an archive held to `place`; two archives may fill the same folders."""
    place.mkdir(parents=True, exist_ok=True)
    for entry in sorted(part.iterdir()):
        target = place / entry.name
        if entry.is_dir() and target.is_dir():
            _merge(entry, target)
        elif target.exists():
            raise _twice(target)
        else:
            # Copies share the bytes: a part stays whole until everything is.
            _share(entry, target)


def _share(entry: Path, target: Path) -> None:
    if entry.is_dir():
        shutil.copytree(entry, target, copy_function=share)
    else:
        share(entry, target)
