"""From a drawn body to the files of a data set: voxel order, raw label values, header forms.

A drawing is a block (z, y, x) with z towards the head, y towards the back and x towards the
patient's left. A file stores it as (i, j, k) in the order that its publisher chose, written as
axis codes: the direction of the patient (R or L, A or P, S or I) in which each index grows.
"""

from collections.abc import Mapping
from typing import Literal

import nibabel as nib
import numpy as np

from piecemeal.datasets.phantoms.drawing import files
from piecemeal.datasets.phantoms.drawing.tissues import STRUCTURE, STRUCTURES
from piecemeal.datasets.phantoms.drawing.torso import Anatomy, Grid
from piecemeal.errors import InputError

DRAWN = ("L", "P", "S")  # axis codes of a drawing, as (x, y, z)
FEMORAL_HEAD_MM = 52.0  # what of the femur, from its top, counts as its head
Form = Literal["both", "sform", "qform"]


def affine_of(grid: Grid, shift: np.ndarray | None = None) -> np.ndarray:
    """Affine (4, 4) from indices (x, y, z) of a drawing to world mm (+x right, +y front, +z up).

    shift: where the scanner's origin lies, (x, y, z) mm, taken off the positions.
    """
    x, y, z = (axis[0] for axis in grid.axes()[::-1])
    across, down, up = grid.spacing[::-1]
    affine = np.diag([-across, -down, up, 1.0])
    affine[:3, 3] = np.array([-x, -y, z]) - (0 if shift is None else shift)
    return affine


def turned(volume: np.ndarray, affine: np.ndarray, codes: str) -> tuple[np.ndarray, np.ndarray]:
    """A drawing (z, y, x) with its affine as voxels (i, j, k) in the order of axis `codes`.

    codes: three letters, as in "RAS". Returns the voxels and the affine that keeps every one of
    them in its place.
    """
    ways = nib.orientations
    change = ways.ornt_transform(ways.axcodes2ornt(DRAWN), ways.axcodes2ornt(codes))
    voxels = np.ascontiguousarray(ways.apply_orientation(volume.T, change))
    return voxels, affine @ ways.inv_ornt_aff(change, volume.shape[::-1])


def raw_labels(anatomy: Anatomy, table: Mapping[str, int]) -> np.ndarray:
    """Raw label values, uint8 (z, y, x), of structures (name -> value); 0 for every other one.

    A tumour that the table does not name belongs to its organ; a femoral head is the top of a
    femur. Raises InputError for a name that is no structure.
    """
    ids, values = anatomy.structures, np.zeros(len(STRUCTURES), np.uint8)
    if "kidney tumour" not in table:
        ids = _kidneys_with_their_tumours(anatomy)
    for name, value in table.items():
        if name not in STRUCTURE and not name.endswith("femoral head"):
            raise InputError(f"label table: {name!r} is no structure; expected names of STRUCTURES")
        if name in STRUCTURE:
            values[STRUCTURE[name]] = value
    if "liver tumour" not in table:
        values[STRUCTURE["liver tumour"]] = table.get("liver", 0)
    raw = values[ids]
    for side in ("right", "left"):
        if value := table.get(f"{side} femoral head"):
            raw[_femoral_head(anatomy, side)] = value
    return raw


def _kidneys_with_their_tumours(anatomy: Anatomy) -> np.ndarray:
    """Structure ids where a kidney tumour has the id of the kidney on its side."""
    ids = anatomy.structures
    tumour = ids == STRUCTURE["kidney tumour"]
    if not tumour.any():
        return ids
    ids = ids.copy()
    right = anatomy.grid.axes()[2] < 0
    ids[tumour & right] = STRUCTURE["right kidney"]
    ids[tumour & ~right] = STRUCTURE["left kidney"]
    return ids


def _femoral_head(anatomy: Anatomy, side: str) -> np.ndarray:
    femur = anatomy.structures == STRUCTURE[f"{side} femur"]
    heights = anatomy.grid.axes()[0]
    there = femur.any((1, 2))
    if there.any():
        # A field of view that starts below the top of the femur has no head to show.
        femur[heights < heights[there].max() - FEMORAL_HEAD_MM] = False
    return femur


def nifti(
    voxels: np.ndarray,
    affine: np.ndarray,
    form: Form = "both",
    spacing: tuple[float, float, float] | None = None,
    compressed: bool = True,
) -> bytes:
    """Content of a NIfTI file of voxels (i, j, k), gzipped unless `compressed` is False.

    form: which of the header's two transforms holds the affine; the other one has code 0.
    spacing: what the header says of it; the lengths of the affine's columns if None.
    """
    header = nib.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header.set_xyzt_units("mm", "sec")
    if form != "sform":
        header.set_qform(affine, code=1)
    if form != "qform":
        header.set_sform(affine, code=1)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_zooms(lengths if spacing is None else spacing)
    content = nib.Nifti1Image(voxels, None, header).to_bytes()
    return files.gzipped(content) if compressed else content
