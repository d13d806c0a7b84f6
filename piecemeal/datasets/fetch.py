"""Get a data set in its official layout: draw its phantom, or link a folder that has it.

A fetched folder holds `phantom/` or the link `local`, LOCK (see `provenance.locked`), and
`manifest.json`, which is written last:
{"source", "layout", "phantom", "files": {path: {"bytes", "sha256"}}, "sha256"} and, by source,
"path" or "cases", "seed", "options". Paths are relative to `dataset_root(folder)`.
"""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

from piecemeal.datasets import layouts, phantoms
from piecemeal.datasets.scans import BadCase, sha256_of
from piecemeal.errors import InputError
from piecemeal.provenance import locked, write_text

log = logging.getLogger(__name__)

PHANTOM_MARKER = "PHANTOM"


def fetch_phantom(
    folder: Path, layout: str, cases: int, seed: int, options: dict | None = None
) -> dict:
    """Draw a phantom data set of so many patients in `folder`; returns its manifest.

    options: further settings of the phantom's writer (size and slices in voxels, ...).
    """
    folder = Path(folder)
    options = dict(options or {})
    writer = phantoms.load(layout)
    drawn = {"cases": cases, "seed": seed, "options": options}
    partial, root = folder / "phantom.partial", folder / "phantom"
    with locked(folder):
        _forget(folder)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        writer.write(partial, cases, seed, **options)
        shutil.rmtree(root, ignore_errors=True)
        partial.rename(root)
        return _finish(folder, root, "phantom", layout, drawn)


def fetch_local(folder: Path, source: Path, layout: str, dataset: str) -> dict:
    """Link the folder `source`, which has `dataset` in its layout; returns the manifest.

    Nothing is copied. Cases with missing files do not stop this: they are logged, and `prepare`
    can be told to leave them out. Raises InputError if the folder is missing or has no case.
    """
    folder, source = Path(folder), Path(source).expanduser().absolute()
    example = layouts.load(layout).EXAMPLE
    if not source.is_dir():
        raise InputError(
            f"{source}: there is no such folder, expected data set {dataset} with {example} in it; "
            f"set its path in config/local.yaml: `local: {{{dataset}: /path}}`"
        )
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


def dataset_root(folder: Path) -> Path:
    """The folder in the official layout, to give to a layout's `find_cases`.

    Raises InputError if fetching has not finished.
    """
    return Path(folder) / read_manifest(folder)["source"]


def read_manifest(folder: Path) -> dict:
    """The manifest of a fetched folder. Raises InputError if fetching has not finished."""
    path = Path(folder) / "manifest.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; fetch the data set again") from None


def _forget(folder: Path) -> None:
    (folder / "manifest.json").unlink(missing_ok=True)


def _finish(folder: Path, root: Path, source: str, layout: str, more: dict) -> dict:
    bad: list[BadCase] = []
    cases = layouts.load(layout).find_cases(root, bad)
    for problem in bad:
        log.warning("%s", problem.reason)
    sums = sha256_of(sorted({path for case in cases for path in case.files}))
    files = {
        path.relative_to(root).as_posix(): {"bytes": path.stat().st_size, "sha256": digest}
        for path, digest in sums.items()
    }
    listing = "".join(f"{entry['sha256']}  {name}\n" for name, entry in sorted(files.items()))
    manifest = {
        "source": source,
        "layout": layout,
        # A phantom that somebody points to as a local folder is a phantom still.
        "phantom": (root / PHANTOM_MARKER).exists(),
        **more,
        "files": files,
        "sha256": hashlib.sha256(listing.encode()).hexdigest(),
    }
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1))
    return manifest
