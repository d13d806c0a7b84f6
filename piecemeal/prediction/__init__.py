"""A finished run on a scan of the user's own: a label map in the scan's own space.

The scan is prepared like those of the run's cohort (`own_scan`) and predicted like those that the
run was scored on, with the settings that held for it (`finished`).
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nibabel as nib

from piecemeal.datasets.labelling import volumes_ml
from piecemeal.errors import InputError
from piecemeal.evaluation.components import largest_component
from piecemeal.inference import predict
from piecemeal.prediction.finished import FinishedRun, read_run
from piecemeal.prediction.own_scan import doubts, prepare_own_scan
from piecemeal.provenance import file_sha256, replacing, write_text
from piecemeal.scoring import label_image, load_to_predict
from piecemeal.training.runtime import device_name, prepare_process

ENDINGS = (".nii.gz", ".nii")
PHANTOMS_ONLY = "the weights have seen phantoms only, never a patient: the map shows how the "
PHANTOMS_ONLY += "software works and says nothing of a real scan"


def predict_own_scan(
    run_folder: Path,
    path: Path,
    output: Path,
    task: str | None = None,
    modality: str | None = None,
    threads: int = 1,
    force: bool = False,
) -> Iterator[str]:
    """Write the label map `output` of the scan in `path`, beside it what it is; yields what to say.

    task, modality: to be given where the run's cohort has several. force: replace `output`.
    Raises InputError, naming the file or the option that is at fault.
    """
    about = _check_output(output, path, force)
    run = read_run(run_folder)
    modality = _chosen("modality", modality, list(run.cohort["intensity"]), run)
    names = dict(enumerate(run.scoring["structures"], start=1))
    tasks = run.scoring.get("tasks") or {}
    task = _chosen("task", task, list(tasks), run)
    asked = [names[i] for i in tasks[task]] if task else list(names.values())
    warnings = _warnings(run)
    yield from (f"warning: {warning}" for warning in warnings)

    scan = prepare_own_scan(path, run.cohort, modality, asked)
    odd = doubts(scan, run.cohort, modality)
    yield from (f"note: {path}: {doubt}" for doubt in odd)
    device = prepare_process(threads)
    method, network = load_to_predict(run.scoring, run.weights, device)
    labels = predict(method, network, scan, run.scoring)
    cleaned = run.scoring["largest_component"]
    labels = largest_component(labels, [i for i, name in names.items() if name in cleaned])

    said = {
        "warnings": warnings,
        "classes": {0: "background"} | names,
        "asked_for": asked,
        "volumes_ml": volumes_ml(labels, scan.geometry.spacing, list(names.values())),
        "scan": str(path),
        "scan_sha256": file_sha256(path) if path.is_file() else None,
        "task": task,
        "modality": modality,
        "run": run.key,
        "scale": run.record["scale"],
        **{key: run.record[key] for key in ("source_hash", "weights_sha256", "data_sources")},
        "commit": run.record.get("commit"),
        "trained_on_phantoms": run.phantoms,
        "settings_from": run.settings_from,
        "inference": run.scoring["inference"],
        "largest_component": cleaned,
        "device": device_name(device),
        "predicted": datetime.now(UTC).isoformat(timespec="seconds"),
        "notes": odd,
    }
    _write(output, about, label_image(labels, scan.geometry), run, said)
    found = said["volumes_ml"].items()
    yield f"{output}: {', '.join(f'{name} {ml:.4g} ml' for name, ml in found) or 'nothing found'}"
    if missed := [name for name in asked if name not in said["volumes_ml"]]:
        yield f"not found: {', '.join(missed)}"
    yield f"{about}: what the values mean, and where they come from"


def _check_output(output: Path, path: Path, force: bool) -> Path:
    """The file beside the label map; InputError if either cannot or must not be written."""
    ending = next((ending for ending in ENDINGS if output.name.endswith(ending)), None)
    if ending is None or output.name == ending:
        raise InputError(f"--output {output}: expected a name that ends in {' or '.join(ENDINGS)}")
    about = output.with_name(output.name.removesuffix(ending) + ".json")
    for target in (output, about):
        if target.exists() and path.exists() and target.samefile(path):
            raise InputError(f"--output {output}: is the scan itself; choose another name")
        if target.is_dir():
            raise InputError(f"{target}: is a folder, expected no such file; choose another name")
        if target.exists() and not force:
            raise InputError(f"{target}: exists; choose another name, or replace it with --force")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(output, error) from None
    if not os.access(output.parent, os.W_OK):
        raise InputError(f"{output.parent}: nothing may be written there; choose another folder")
    return about


def _chosen(option: str, given: str | None, allowed: Sequence[str], run: FinishedRun) -> str | None:
    """The value of an option: that which is given, or the only one there is; None where none is."""
    where = f"the cohort '{run.record['cohort']}' of {run.folder}"
    if given is not None and not allowed:
        raise InputError(f"--{option} {given}: {where} has no {option}; leave the option out")
    if given is not None and given not in allowed:
        raise InputError(f"--{option} {given}: {where} has only {', '.join(allowed)}; give one")
    if given is None and len(allowed) > 1:
        raise InputError(
            f"--{option}: {where} has several, and it takes one to tell how to read the scan; give "
            f"one of {', '.join(allowed)}"
        )
    return given or next(iter(allowed), None)


def _warnings(run: FinishedRun) -> list[str]:
    found, sources = [], run.record["data_sources"]
    if run.phantoms and len(run.phantoms) == len(sources):
        found.append(PHANTOMS_ONLY)
    elif run.phantoms:
        found.append(
            f"of the data sets that the weights have learned from, {', '.join(run.phantoms)} are "
            f"phantoms, not patients ({len(run.phantoms)} of {len(sources)})"
        )
    if not run.same_code:
        found.append(
            f"the code that prepares and predicts has changed since {run.settings_from} was "
            "written, so the map may differ from what the run was scored on"
        )
    return found


def _write(
    output: Path, about: Path, image: nib.Nifti1Image, run: FinishedRun, said: Mapping[str, Any]
) -> None:
    """Write both files, each whole or not at all, and `about` only beside the map it speaks of."""
    # A map that has lost its companion says at least this.
    image.header["descrip"] = f"piecemeal {run.record['hash']}" + (
        ", TRAINED ON PHANTOMS" if run.phantoms else ""
    )
    content = image.to_bytes()
    if output.name.endswith(".gz"):
        content = gzip.compress(content, compresslevel=6, mtime=0)
    try:
        about.unlink(missing_ok=True)
        with replacing(output) as temporary:
            temporary.write_bytes(content)
        labels = {"labels": output.name, "labels_sha256": file_sha256(output)}
        write_text(about, json.dumps(labels | said, indent=1) + "\n")
    except OSError as error:
        raise _unwritable(output, error) from None


def _unwritable(output: Path, error: OSError) -> InputError:
    why = error.strerror or error
    return InputError(f"{output}: cannot be written ({why}); make room or choose another place")
