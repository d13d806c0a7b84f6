"""Cohorts of projections: each view of a scan is a case of its own, several images of it in a row.

Anand et al. (2024), section 3.1: landmarks are drawn in 3D, the volume is turned and its intensity
changed, and then averaged along an axis. The first image of a case is the scan as it is; the others
are changed copies for training. In a projection structures overlap: labels are bit masks
(`piecemeal.bitmasks`) of the task's structures in their order.

Images are (rows, columns): axial (y, x) with the front on top, coronal (z, x) and sagittal (z, y)
with the head on top, so that their rows run against z.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from piecemeal import bitmasks
from piecemeal.datasets.grid import Shape, Spacing, resample_to_grid
from piecemeal.datasets.labelling import Labelled, cut_by_grid, labelled, volumes_ml
from piecemeal.datasets.scans import CaseFiles, Scan
from piecemeal.datasets.whole import Whole, darkest, on_grid

AXES = {"axial": 0, "coronal": 1, "sagittal": 2}

Box = tuple[tuple[int, int], ...]  # first voxel and the one after the last, along z, y and x


class Change(NamedTuple):
    """How a copy differs from its scan.

    rotation: 3 x 3, of (z, y, x) in mm about the middle of what is projected; gain, offset:
    relative change of contrast and, in widths of the window, of brightness.
    """

    rotation: np.ndarray
    gain: float
    offset: float


class _Slab(NamedTuple):
    """What a view projects: a box of the scan along an axis, and its structures' voxels there.

    points: of each structure of the task the indices (n, 3) within the box.
    """

    box: Box
    axis: int
    points: list[np.ndarray]
    drawn: Labelled
    volumes: dict[str, float]


def changes(how: Mapping[str, Any], dataset: str, scan: str) -> list[Change | None]:
    """How each image of a scan is changed: None for the first, then one a copy.

    how: as `ProjectionConfig`. A change depends on its number, the scan and the seed alone.
    """
    from scipy.spatial.transform import Rotation  # here, because prediction needs no scipy

    drawn: list[Change | None] = [None]
    for number in range(1, how["copies"] + 1):
        digest = hashlib.sha256(f"{how['seed']}:{dataset}:{scan}:{number}".encode()).hexdigest()
        rng = np.random.default_rng(int(digest[:16], 16))
        angles = rng.uniform(-1, 1, 3) * how["rotation_deg"]
        gain, offset = rng.uniform(-1, 1, 2) * (how["gain"], how["offset"])
        # About z first; scipy's matrices are of (x, y, z).
        rotation = Rotation.from_euler("zyx", angles, degrees=True).as_matrix()[::-1, ::-1]
        drawn.append(Change(rotation, float(gain), float(offset)))
    return drawn


def project_scan(
    whole: Whole, case: CaseFiles, dataset: str, settings: dict[str, Any], tasks: Sequence[str]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Arrays and record of each view of a scan, as `whole.on_grid`; or why it has none.

    settings: those of `prepare_scan.Job`, with `tasks` and `projection`.
    """
    how, spacing = settings["projection"], whole.scan.spacing
    slabs = {task: _slab(whole.scan, case, task, settings) for task in tasks}
    shown = {task: slab for task, slab in slabs.items() if isinstance(slab, _Slab)}
    images: dict[str, list[np.ndarray]] = {task: [] for task in shown}
    labels: dict[str, list[np.ndarray]] = {task: [] for task in shown}
    for change in changes(how, dataset, case.scan):
        turned: dict[Box, np.ndarray] = {}  # several views look at the same box
        for task, (box, axis, points, *_) in shown.items():
            if box not in turned:
                turned[box] = changed(_cut(whole.scan.image, box), spacing, change, settings)
            masks = [shadow(of, turned[box].shape, spacing, change, axis) for of in points]
            images[task].append(projected(turned[box], axis, how["value"]))
            labels[task].append(bitmasks.pack(masks))
    made: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for task, slab in slabs.items():
        if isinstance(slab, _Slab):
            stacks = np.stack(images[task]), np.stack(labels[task])
            made.append(_stored(whole, slab, *stacks, task, settings))
        else:
            made.append(({}, {"left_out": slab}))
    return made


def _slab(scan: Scan, case: CaseFiles, task: str, settings: dict[str, Any]) -> _Slab | str:
    """What the view of a task projects of a scan, or why the scan is no case of it."""
    how, own, parts = settings["projection"], settings["tasks"][task], dict(settings["structures"])
    drawn = labelled(scan, case, settings | {"structures": [[name, parts[name]] for name in own]})
    if missing := [name for name in own if drawn is None or name not in drawn.declared]:
        return f"nobody has drawn {', '.join(missing)}"
    view = how["views"][task]
    axis = AXES[view["axis"]]
    box = _box(drawn.ids, scan.spacing[0], how["around_mm"], axis, view["part"])
    ids = _cut(drawn.ids, box)
    points = [np.argwhere(ids == number) for number in range(1, len(own) + 1)]
    absent = [name for name, voxels in zip(own, points, strict=True) if not len(voxels)]
    if len(absent) == len(own) or (absent and how["needs"] == "all"):
        return f"{', '.join(absent)} not in it"
    return _Slab(box, axis, points, drawn, volumes_ml(ids, scan.spacing, own))


def _box(
    ids: np.ndarray, step: float, around: float | None, axis: int, part: Sequence[float]
) -> Box:
    """The slices (`step` mm apart) `around` the structures; of these the `part` along the axis."""
    box = [(0, size) for size in ids.shape]
    planes = np.flatnonzero(ids.any((1, 2))).tolist()
    if around is not None and planes:
        margin = int(around // step)
        box[0] = (max(0, planes[0] - margin), min(len(ids), planes[-1] + 1 + margin))
    first, size = box[axis][0], box[axis][1] - box[axis][0]
    start, stop = (first + round(share * size) for share in part)
    start = min(start, first + size - 1)
    box[axis] = (start, max(stop, start + 1))
    return tuple(box)


def changed(
    volume: np.ndarray, spacing: Spacing, change: Change | None, settings: Mapping[str, Any]
) -> np.ndarray:
    """A volume (z, y, x) as `change` has it, between the ends of the intensities' scale."""
    from scipy import ndimage

    if change is None:
        return volume
    back = np.linalg.inv(_of_voxels(change, spacing))
    middle = (np.array(volume.shape) - 1) / 2
    low, high = settings["intensity"]["scale"]
    turned = ndimage.affine_transform(
        volume, back, middle - back @ middle, order=1, mode="constant", cval=darkest(settings)
    )
    turned -= low
    turned *= 1 + change.gain
    turned += low + change.offset * (high - low)
    return np.clip(turned, low, high, out=turned)


def projected(volume: np.ndarray, axis: int, value: str) -> np.ndarray:
    """Mean or maximum of a volume (z, y, x) along an axis, float32 (rows, columns)."""
    flat = volume.max(axis) if value == "maximum" else volume.mean(axis, dtype=np.float64)
    return _upright(flat, axis).astype(np.float32)


def shadow(
    points: np.ndarray, shape: Shape, spacing: Spacing, change: Change | None, axis: int
) -> np.ndarray:
    """The pixels, bool (rows, columns), that a structure of the voxels `points` (n, 3) falls on.

    Its voxels are turned and dropped one by one, each as eight points, so that what is one voxel
    thick keeps its pixels; without a change this is "any voxel along the axis".
    """
    flat = np.zeros([size for a, size in enumerate(shape) if a != axis], bool)
    middle = (np.array(shape) - 1) / 2
    turn = np.eye(3) if change is None else _of_voxels(change, spacing)
    for corner in itertools.product((-0.25, 0.25), repeat=3):
        places = np.rint((points + corner - middle) @ turn.T + middle).astype(int)
        inside = ((places >= 0) & (places < shape)).all(axis=1)
        rows, columns = np.delete(places[inside], axis, axis=1).T
        flat[rows, columns] = True
    return _upright(flat, axis)


def masks_on_grid(
    masks: np.ndarray, spacing: Spacing, grid_spacing: Spacing, grid_shape: Shape
) -> np.ndarray:
    """Bit masks (views, rows, columns) on the grid, where no pixel of a structure is lost.

    A pixel of the grid has what lies nearest, and what of the masks lies nearest to it: landmarks
    are thinner than the steps of a coarse grid.
    """
    for axis in (1, 2):
        shape, steps = list(masks.shape), list(spacing)
        shape[axis], steps[axis] = grid_shape[axis], grid_spacing[axis]
        found = resample_to_grid(masks, spacing, tuple(steps), tuple(shape), order=0)
        from_middle = np.arange(masks.shape[axis]) - (masks.shape[axis] - 1) / 2
        nearest = from_middle * spacing[axis] / steps[axis] + (shape[axis] - 1) / 2
        nearest = np.rint(nearest).astype(int)
        inside = (nearest >= 0) & (nearest < shape[axis])
        np.bitwise_or.at(
            np.moveaxis(found, axis, 0), nearest[inside], np.moveaxis(masks, axis, 0)[inside]
        )
        masks, spacing = found, tuple(steps)
    return masks


def _stored(
    whole: Whole,
    slab: _Slab,
    images: np.ndarray,
    masks: np.ndarray,
    task: str,
    settings: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and record of a view: images and bit masks (views, rows, columns)."""
    spacing, affine = _plane(whole.scan, slab)
    scan = replace(whole.scan, image=images, labels=None, spacing=spacing, affine=affine)
    arrays, record = on_grid(whole._replace(scan=scan, file_axes=""), settings)
    grid = (tuple(record["grid_shape"]), tuple(record["grid_spacing"]))
    arrays["reference"] = masks
    arrays["labels"] = masks_on_grid(masks, spacing, *reversed(grid))
    record["declared"], record["volumes_ml"] = slab.drawn.declared, slab.volumes
    record["notes"] += slab.drawn.notes
    for k, name in enumerate(settings["tasks"][task]):
        one = bitmasks.bit(masks[:1], k).astype(np.uint8)
        record["notes"] += cut_by_grid(one, spacing, grid, [name])
    return arrays, record | {"task": task, "box": slab.box}


def _plane(scan: Scan, slab: _Slab) -> tuple[Spacing, np.ndarray]:
    """Spacing (views 1 mm apart, rows, columns) and affine of the images: in the box's middle."""
    row, column = (a for a in range(3) if a != slab.axis)
    # Columns of an affine are (x, y, z), axes of arrays (z, y, x).
    steps = [scan.affine[:3, 2 - a] for a in range(3)]
    start = np.array([low for low, _ in slab.box], float)
    start[slab.axis] = sum(slab.box[slab.axis]) / 2 - 0.5
    down = 1.0
    if slab.axis:
        down, start[row] = -1.0, slab.box[row][1] - 1
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = steps[column], down * steps[row]
    affine[:3, 2] = steps[slab.axis] / scan.spacing[slab.axis]
    affine[:3, 3] = scan.affine[:3, 3] + sum(n * step for n, step in zip(start, steps, strict=True))
    return (1.0, scan.spacing[row], scan.spacing[column]), affine


def _of_voxels(change: Change, spacing: Spacing) -> np.ndarray:
    """A change's rotation, of indices instead of mm."""
    return change.rotation * np.array(spacing) / np.array(spacing)[:, None]


def _upright(flat: np.ndarray, axis: int) -> np.ndarray:
    """z runs up, rows run down."""
    return flat[::-1] if axis else flat


def _cut(volume: np.ndarray, box: Box) -> np.ndarray:
    return volume[tuple(slice(*ends) for ends in box)]
