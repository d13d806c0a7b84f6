"""Get a data set in its official layout: draw its phantom, fetch it, or link a folder that has it.

A fetched folder holds `phantom/`, `download/` or the link `local`, LOCK (see `provenance.locked`),
and `manifest.json`, which is written last:
{"source", "layout", "phantom", "files": {path: {"bytes", "content"}}, "sha256"} and, by source,
"path", or "downloads", or "writer", "cases", "seed", "options". Paths are relative to
`dataset_root(folder)`.
"""

import hashlib
import inspect
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from piecemeal.datasets import phantoms
from piecemeal.datasets.fetching.assemble import assemble
from piecemeal.datasets.local_folders import local_folder
from piecemeal.datasets.scans import BadCase, content_ids, name_below, size_of_file
from piecemeal.datasets.sources import Layout
from piecemeal.errors import InputError
from piecemeal.provenance import locked, write_text

log = logging.getLogger(__name__)

PHANTOM_MARKER = "PHANTOM"


def fetch_phantom(
    folder: Path,
    layout: Layout,
    writer: str,
    cases: int,
    seed: int,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Draw a phantom data set of so many patients in `folder`; returns its manifest.

    writer: a module of `phantoms`; options: its further settings (size and slices in voxels, ...).
    """
    folder = Path(folder)
    options = dict(options or {})
    drawn = {"writer": writer, "cases": cases, "seed": seed, "options": options}
    partial, root = folder / "phantom.partial", folder / "phantom"
    with locked(folder):
        _forget(folder)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _write(writer, partial, cases, seed, options)
        os.sync()  # before the manifest vouches for what was drawn
        shutil.rmtree(root, ignore_errors=True)
        partial.rename(root)
        return _finish(folder, root, "phantom", layout, drawn)


def fetch_download(
    folder: Path,
    layout: Layout,
    archives: Sequence[Mapping[str, Any]],
    downloads: Path,
    homepage: str = "",
    **options: Any,
) -> dict[str, Any]:
    """Fetch and unpack the archives of a data set (`assemble`); returns the manifest.

    archives: as in dataset_specs; downloads: folder that keeps them; options: those of `download`.
    Raises InputError where one cannot be had, is not the file expected, or is refused.
    """
    folder = Path(folder)
    with locked(folder), locked(Path(downloads)):
        _forget(folder)
        root = assemble(folder, archives, Path(downloads), homepage, **options)
        return _finish(folder, root, "download", layout, {"downloads": str(downloads)})


def fetch_local(folder: Path, layout: Layout, source: Path, dataset: str) -> dict[str, Any]:
    """Link the folder `source`, which has `dataset` in its layout; returns the manifest.

    Nothing is copied. Cases with missing files do not stop this: they are logged, and `prepare`
    can be told to leave them out. Raises InputError if the folder is missing or has no case.
    """
    folder, source = Path(folder), local_folder(source, layout, dataset)
    with locked(folder):
        _forget(folder)
        link = folder / "local.partial"
        link.unlink(missing_ok=True)
        link.symlink_to(source, target_is_directory=True)
        os.replace(link, folder / "local")
        try:
            return _finish(folder, folder / "local", "local", layout, {"path": str(source)})
        except InputError as error:
            raise InputError(
                f"{error} (the path is set in config/local.yaml: `local: {{{dataset}: {source}}}`)"
            ) from None


def _write(writer: str, folder: Path, cases: int, seed: int, options: dict[str, Any]) -> None:
    module = phantoms.load(writer)
    known = list(inspect.signature(module.write).parameters)[3:]
    if unknown := sorted(set(options) - set(known)):
        raise InputError(
            f"phantom {writer}: unknown options {unknown}; allowed: {known} (key `options` of the "
            "source in config/scales, `phantom.options` in config/datasets)"
        )
    module.write(folder, cases, seed, **options)


def _forget(folder: Path) -> None:
    (folder / "manifest.json").unlink(missing_ok=True)


def _finish(
    folder: Path, root: Path, source: str, layout: Layout, more: dict[str, Any]
) -> dict[str, Any]:
    bad: list[BadCase] = []
    cases = layout.find_cases(root, bad)
    for problem in bad:
        log.warning("%s", problem.reason)
    found = {file for case in cases for file in case.files}
    if source == "download":
        # The whole tree; what is linked to is an archive, whose sum is in checksums.json.
        tree = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        found |= set(tree)
    ids = content_ids(sorted(found, key=str))
    files = {
        name_below(root, file): {"bytes": size_of_file(file), "content": digest}
        for file, digest in ids.items()
    }
    listing = "".join(f"{file['content']}  {name}\n" for name, file in sorted(files.items()))
    manifest = {
        "source": source,
        "layout": layout.name,
        # A phantom that somebody points to as a local folder is a phantom still.
        "phantom": (root / PHANTOM_MARKER).exists(),
        **more,
        "files": files,
        "sha256": hashlib.sha256(listing.encode()).hexdigest(),
    }
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1))
    return manifest
