"""A layout for CT with landmarks, like the in-house sets of Anand et al. 2024.

Those are not public, so there is no published layout to follow:

    subject001/ct.nii.gz
    subject001/landmarks.json    {"left eye": [[-31.5, 80.2, 12.0]], "left tibia": [[..], [..]]}

A landmark is a point, or a line through several, in mm (RAS: to the right, to the front, up). A
landmark that is not named, or has no point, is not in this subject.
"""

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np

from piecemeal.datasets.members import Tree
from piecemeal.datasets.reading.affines import spacing_of
from piecemeal.datasets.reading.nifti import read_volume
from piecemeal.datasets.reading.volumes import Volume, of_labels, scan_of
from piecemeal.datasets.scans import BadCase, CaseFiles, File, Labels, Scan, found_or_raise
from piecemeal.errors import InputError

EXAMPLE = "subject001/ct.nii.gz"
RADIUS_MM = 3.0

_SUBJECT = re.compile(r"subject\d{3}")


def find_cases(root: Path, bad: list[BadCase] | None = None) -> list[CaseFiles]:
    """One scan a subject, sorted; no volume is read.

    Raises InputError if there is no subject folder. Subjects without image or landmarks go to
    `bad`, or raise InputError naming the file.
    """
    tree = Tree(root)
    folders = [name for name in tree.children() if _SUBJECT.fullmatch(name)]
    if not folders:
        raise InputError(
            f"{root}: no subject with landmarks here, expected {EXAMPLE}; put the data set there "
            "or correct the path"
        )
    cases, found_bad = [], []
    for name in folders:
        image, labels = (tree.file(f"{name}/{file}") for file in ("ct.nii.gz", "landmarks.json"))
        if missing := [file for file in (image, labels) if not file.is_file()]:
            reason = f"{missing[0]}: is missing; copy it from the data set"
            found_bad.append(BadCase(name, name, reason))
        else:
            cases.append(CaseFiles(name, "", image, labels))
    return found_or_raise(cases, found_bad, bad)


def read(case: CaseFiles, labels: Labels) -> Scan:
    """One scan; labels: position in `labels`, from 1, of each landmark that it names.

    A point is drawn as a sphere, a line as a tube, of `RADIUS_MM`, and at least as the voxels that
    it lies in; where they overlap the later of `labels` wins. Raises InputError on a landmark that
    `labels` does not name.
    """
    image = read_volume(case.image)
    landmarks = _landmarks(case.labels)
    if unknown := sorted(set(landmarks) - set(labels)):
        raise InputError(
            f"{case.labels}: landmarks {unknown} are not in the data set's `labels`, which has "
            f"{list(labels)}; correct the file, or add them there"
        )
    drawn = np.zeros(image.voxels.shape, np.min_scalar_type(len(labels)), order="F")
    notes = []
    for number, name in enumerate(labels, start=1):
        points = landmarks.get(name, np.empty((0, 3)))
        if len(points) and not _draw(drawn, image, points, number):
            notes.append(f"{name}: outside the image")
    return scan_of(image, drawn, of_labels(notes))


def _landmarks(file: File) -> dict[str, np.ndarray]:
    """Name -> points in mm, (n, 3)."""
    try:
        content = json.loads(file.read_bytes())
        found = {
            str(name): np.array(points, float).reshape(-1, 3) if points else np.empty((0, 3))
            for name, points in content.items()
        }
        if any(len(found[name]) != len(content[name]) for name in content):
            raise ValueError("a point has not three coordinates")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file}: cannot be read ({error}), expected names with lists of points [x, y, z] in "
            "mm; correct it or copy it again"
        ) from None
    if bad := [name for name, points in found.items() if not np.isfinite(points).all()]:
        raise InputError(f"{file}: points of {bad} are not finite; correct them")
    return found


def _draw(drawn: np.ndarray, image: Volume, points: np.ndarray, number: int) -> bool:
    """Write `number` in place where a voxel is near the line or on it; whether there was one."""
    sizes = np.array(spacing_of(image.affine)[::-1])
    from_world = np.linalg.inv(image.affine)
    shape = np.array(drawn.shape)
    some = False
    for start, end in pairwise(points) if len(points) > 1 else [(points[0], points[0])]:
        ends = np.array([start, end]) @ from_world[:3, :3].T + from_world[:3, 3]
        count = 2 + 2 * int(min(np.abs(ends[1] - ends[0]).max(), 2 * shape.sum()))
        on = np.rint(np.linspace(*ends, count)).astype(int)
        on = on[((on >= 0) & (on < shape)).all(axis=1)]
        drawn[tuple(on.T)] = number
        some |= len(on) > 0
        reach = RADIUS_MM / sizes
        low = np.maximum(np.ceil(ends.min(axis=0) - reach), 0).astype(int)
        high = np.minimum(np.floor(ends.max(axis=0) + reach) + 1, shape).astype(int)
        if (low >= high).any():
            continue
        box = tuple(slice(*pair) for pair in zip(low, high, strict=True))
        voxels = np.moveaxis(np.mgrid[box], 0, -1)
        places = voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
        near = _distance(places, start, end) <= RADIUS_MM
        drawn[box][near] = number
        some |= bool(near.any())
    return some


def _distance(places: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Distance (mm) of places (..., 3) from the line between two points."""
    along = end - start
    squared = float(along @ along)
    share = np.clip((places - start) @ along / squared, 0, 1) if squared else np.float64(0)
    return np.linalg.norm(places - start - share[..., None] * along, axis=-1)
