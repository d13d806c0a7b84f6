"""Phantom of CT with landmarks: hip, knee, foot or head, as in Anand et al. 2024.

Their sets are not public and have no published layout; this one is ours:

    folder/subjectNNN/ct.nii.gz          int16, Hounsfield units
    folder/subjectNNN/landmarks.json     name -> points [x, y, z] in mm (to the right, front, up)

A landmark of one point is a point, of more points a line through them. Landmarks that come in
pairs (both hips, eyes, ears) are the line from the right one to the left one.
"""

import json
from pathlib import Path

import numpy as np

from piecemeal.datasets.phantoms.drawing import figures, files, foot, head_images
from piecemeal.datasets.phantoms.drawing.ct import CtScanner, acquire_ct
from piecemeal.datasets.phantoms.drawing.extremity import Limb, hip, knee
from piecemeal.datasets.phantoms.drawing.head import sample_head
from piecemeal.errors import InputError

REGIONS = ("hip", "knee", "foot", "head")
TO_WORLD = np.array([-1.0, -1.0, 1.0])  # (left, back, up) to (right, front, up)


def write(
    folder: Path, cases: int, seed: int, *, region: str = "knee", size: int = 96, slices: int = 64
) -> None:
    """Write `cases` subjects under `folder`; the marker file PHANTOM comes last.

    region: one of REGIONS. size: pixels along the longer side of a slice, which are square.
    slices: along the body. Case i of a region depends on (seed, i) only. Raises InputError for
    options out of range.
    """
    if region not in REGIONS:
        raise InputError(f"phantom landmarks: region is {region!r}, expected one of {REGIONS}")
    files.check_options(
        "landmarks",
        cases=(cases, 1, 999),
        seed=(seed, 0, 2**63),
        size=(size, 32, 512),
        slices=(slices, 4, 512),
    )
    folder = Path(folder)
    for index in range(cases):
        subject = folder / f"subject{index + 1:03d}"
        subject.mkdir(parents=True, exist_ok=True)
        _write_subject(subject, region, seed, index, size, slices)
    files.mark(folder, f"landmarks of the {region}", cases, seed)


def _write_subject(
    folder: Path, region: str, seed: int, index: int, size: int, slices: int
) -> None:
    rng = files.generator(seed, index, REGIONS.index(region))
    limb = _sample(rng, region)
    low, high = (np.array(corner, float) for corner in limb.box)
    extent = (high - low) * rng.uniform(0.97, 1.06, 3)
    pixel = extent[1:].max() / size
    shape = (slices, *(max(8, round(length / pixel)) for length in extent[1:]))
    spacing = (float(extent[0] / slices), float(pixel), float(pixel))
    middle = (low + high) / 2 + rng.normal(0, 4, 3)
    space = figures.grid(shape, spacing, middle)
    palette = head_images.ct_palette(rng)
    grain = 0.5 * figures.texture(rng, space, 4.0) + 0.85 * figures.texture(rng, space, 13.0)
    hu, _ = figures.draw(limb.parts, space, palette, (), pixel, grain)
    scanner = CtScanner(noise=rng.uniform(3, 9), blur_mm=0.35 * pixel)
    image = acquire_ct(rng, hu, spacing, scanner)
    image[hu < -990] = -1000  # no noise in air: it would make up most of the file

    origin = rng.normal((0, 0, -600), (20, 120, 300))  # of the scanner, to the right, front, up
    first = np.array([axis.ravel()[0] for axis in (space.x, space.y, space.z)])
    affine = np.diag([*(TO_WORLD * spacing[::-1]), 1.0])
    affine[:3, 3] = TO_WORLD * first + origin
    files.write_nifti(folder / "ct.nii.gz", image, spacing[::-1], affine)
    places = {
        name: (TO_WORLD * points[:, ::-1] + origin).round(2).tolist()
        for name, points in limb.landmarks.items()
    }
    (folder / "landmarks.json").write_text(json.dumps(places, indent=1))


def _sample(rng: np.random.Generator, region: str) -> Limb:
    """Draw a subject's region; of knee and foot either side."""
    side = int(rng.choice([-1, 1]))
    if region == "hip":
        return hip(rng)
    if region == "knee":
        return knee(rng, side)
    if region == "foot":
        return foot.foot(rng, side)
    subject = sample_head(rng, chin_up=2.0)
    return Limb(subject.parts, subject.landmarks(), ((-105, -128, -98), (132, 112, 98)))
