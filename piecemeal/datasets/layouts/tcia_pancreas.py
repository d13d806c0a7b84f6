"""The layout of NIH Pancreas-CT at The Cancer Imaging Archive (Roth et al., MICCAI 2015).

    Pancreas-CT/PANCREAS_0001/<study>/<series>/1-001.dcm     one folder a series, named anyhow
    TCIA_pancreas_labels-02-05-2017/label0001.nii.gz         1: pancreas

Image and labels belong together by number: that of the DICOM PatientID and that of the label's
name. The labels are NIfTI files of another conversion, and do not always say truly how they lie on
the images; what their voxels look like in the CT then decides.
"""

import itertools
import logging
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from piecemeal.datasets.members import Tree
from piecemeal.datasets.reading import nifti
from piecemeal.datasets.reading.affines import corner_displacement
from piecemeal.datasets.reading.dicom import patient_id, read_series
from piecemeal.datasets.reading.placing import turned_like
from piecemeal.datasets.reading.volumes import (
    REJECTED_DISPLACEMENT_MM,
    Volume,
    lying_on,
    of_labels,
    scan_of,
    whole,
)
from piecemeal.datasets.scans import BadCase, CaseFiles, File, Labels, Scan, found_or_raise
from piecemeal.errors import InputError

log = logging.getLogger(__name__)

EXAMPLE = "Pancreas-CT/PANCREAS_0001/<study>/<series>/1-001.dcm"

SOFT_TISSUE_HU = (0, 150)  # the mean of an abdominal organ, whatever the contrast phase
CLEARLY = 0.1  # further share of labelled voxels that are soft tissue, best flip over second best

_PATIENT = re.compile(r"PANCREAS_(\d{4})")
_LABEL = re.compile(r"(?:.*/)?label(\d{4})\.nii\.gz")
_SLICE = re.compile(r"(.*)/[^/]+\.dcm", re.IGNORECASE)


def find_cases(root: Path, bad: list[BadCase] | None = None) -> list[CaseFiles]:
    """One series a patient, sorted; of each, the header of one file is read.

    Labels without images are passed over: patients 25 and 70 were withdrawn. Raises InputError if
    there is no series. Series without labels, of an unknown patient, or a second one of the same
    patient go to `bad`, or raise InputError naming the folder; of what patient a series is that
    does not tell, its path may say.
    """
    tree = Tree(root)
    series, labels = _files(tree)
    if not series:
        raise InputError(
            f"{root}: no series of slices here, expected {EXAMPLE}, in any folder; put the data "
            "set there or correct the path"
        )
    by_patient: dict[str, list[str]] = defaultdict(list)
    cases, found_bad = [], []
    for folder, files in series.items():
        try:
            by_patient[_patient(files[0])].append(folder)
        except InputError as error:
            # By its folder, so that one can exclude it as the patient that it is.
            named = _PATIENT.search(folder)
            name = named.group() if named else folder
            found_bad.append(BadCase(name, name, str(error)))
    for patient, folders in sorted(by_patient.items()):
        number = _PATIENT.fullmatch(patient).group(1)
        where = tree.file(folders[0])
        if len(folders) > 1:
            reason = f"{where} and {tree.file(folders[1])} are both of {patient}; remove one"
        elif len(labels.get(number, [])) != 1:
            there = " and ".join(map(str, labels.get(number, []))) or "none"
            reason = f"{where}: expected one label{number}.nii.gz for {patient}, found {there}"
        else:
            image, *others = series[folders[0]]
            cases.append(CaseFiles(patient, "", image, *labels[number], slices=tuple(others)))
            continue
        found_bad.append(BadCase(patient, patient, reason))
    known = {_PATIENT.fullmatch(patient).group(1) for patient in by_patient}
    if left := sorted(set(labels) - known):
        log.info("%s: labels without images are passed over: %s", root, ", ".join(left))
    return found_or_raise(cases, found_bad, bad)


def read(case: CaseFiles, labels: Labels) -> Scan:
    """One series with the raw label values of its file, brought onto the slices."""
    image = read_series([case.image, *case.slices])
    drawn, notes = _brought(image, nifti.read_volume(case.labels))
    return scan_of(image, drawn, of_labels(notes))


def _files(tree: Tree) -> tuple[dict[str, list[File]], dict[str, list[File]]]:
    """The slices of every folder that has some; the labels of every number."""
    series, labels = defaultdict(list), defaultdict(list)
    for path in tree.files():
        if match := _SLICE.fullmatch(path):
            series[match.group(1)].append(tree.file(path))
        elif match := _LABEL.fullmatch(path):
            labels[match.group(1)].append(tree.file(path))
    return series, labels


def _patient(file: File) -> str:
    patient = patient_id(file)
    if not _PATIENT.fullmatch(patient):
        raise InputError(
            f"{file}: PatientID is {patient!r}, expected one like PANCREAS_0001; remove the series"
        )
    return patient


def _brought(image: Volume, drawn: Volume) -> tuple[np.ndarray, list[str]]:
    """Labels (x, y, z) on the voxels of the image, by both affines if they agree; and notes.

    They have to lie on soft tissue. Where they do not, or the affines disagree, that of the eight
    flips is taken which lies on soft tissue by far the most. Raises InputError if none does.
    """
    turned = turned_like(image, drawn)
    turned = replace(turned, voxels=whole(turned))
    places = np.argwhere(turned.voxels.T)[:, ::-1]
    if not len(places):
        raise InputError(f"{drawn.file}: no voxel is labelled, expected a pancreas; copy it again")
    distance = corner_displacement(image.affine, turned.affine, turned.voxels.shape)
    if turned.voxels.shape != image.voxels.shape or distance <= REJECTED_DISPLACEMENT_MM:
        notes = lying_on(image, turned)
        if _is_soft(_values(image, places, ())):
            return turned.voxels, notes
        why = "puts them on other than soft tissue"
    else:
        why = f"puts them up to {distance:.1f} mm off the image"
    axes = _best_flip(image, places, drawn.file)
    named = " and ".join("xyz"[axis] for axis in axes) or "nothing"
    note = f"header {why}: {named} flipped, where they lie on soft tissue"
    return np.flip(turned.voxels, axes), [*turned.notes, note]


def _best_flip(image: Volume, places: np.ndarray, where: File) -> tuple[int, ...]:
    """Axes to flip so that the labelled voxels lie on soft tissue."""
    flips = [axes for count in range(4) for axes in itertools.combinations(range(3), count)]
    shares = {axes: _soft_share(_values(image, places, axes)) for axes in flips}
    best, second = sorted(flips, key=shares.__getitem__, reverse=True)[:2]
    if not _is_soft(_values(image, places, best)) or shares[best] < shares[second] + CLEARLY:
        raise InputError(
            f"{where}: does not say where it lies on {image.file}, and no flip of it puts clearly "
            f"more on soft tissue than the others: {shares[best]:.0%} and {shares[second]:.0%} of "
            "the labelled voxels; repair the header or leave the scan out"
        )
    return best


def _values(image: Volume, places: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """HU at the places (rows x, y, z) of a volume that is flipped along the axes."""
    flipped = places.copy()
    for axis in axes:
        flipped[:, axis] = image.voxels.shape[axis] - 1 - flipped[:, axis]
    return image.voxels[tuple(flipped.T)]


def _is_soft(values: np.ndarray) -> bool:
    low, high = SOFT_TISSUE_HU
    return bool(low <= values.mean(dtype=np.float64) <= high)


def _soft_share(values: np.ndarray) -> float:
    low, high = SOFT_TISSUE_HU
    return float(np.mean((values >= low) & (values <= high)))
