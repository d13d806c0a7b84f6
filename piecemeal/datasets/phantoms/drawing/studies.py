"""One subject of a trunk data set as its scanner saw it, by the habits of the source.

What differs from source to source is said in a `Protocol`: the part of the body, the phase of the
contrast agent, dose and sharpness, what is stored outside the round field of view. Every source
draws its own patients: the same seed gives two sources different ones.
"""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from piecemeal.datasets.phantoms.drawing import export, files, torso_mr
from piecemeal.datasets.phantoms.drawing.ct import CtScanner, acquire_ct, paint_ct
from piecemeal.datasets.phantoms.drawing.torso import (
    Anatomy,
    Grid,
    Torso,
    grid_for,
    sample_torso,
)

BODY, FRAME, IMAGE, FILES = range(4)  # streams of random numbers of one subject
UNLABELLED = 10**6  # index of the first subject whose labels nobody gets

Absent = Collection[str]
Tumours = Mapping[str, int]


@dataclass(frozen=True)
class Protocol:
    """How a source scans. Pairs are (lowest, highest) of what subjects get at random.

    region: see torso.REGIONS. phases: CT contrast phases (ct.PHASES); or sequences: of MR
    (torso_mr.SEQUENCES). noise: HU. blur: of the image, as a fraction of a pixel. padding: value
    stored outside the round field of view, None for a square one. margin_mm: air on each side of
    the body. trim_mm: by how much each end of the field of view strays along the body.
    """

    source: str
    region: str = "abdomen"
    phases: tuple[str, ...] = ("portal",)
    sequences: tuple[str, ...] = ()
    noise: tuple[float, float] = (10.0, 18.0)
    blur: tuple[float, float] = (0.25, 0.4)
    padding: float | None = None
    margin_mm: tuple[float, float] = (8.0, 20.0)
    trim_mm: float = 12.0


@dataclass(frozen=True)
class Study:
    """A scanned subject: image int16 (z, y, x), what is in it, and where its voxels lie."""

    image: np.ndarray
    anatomy: Anatomy
    affine: np.ndarray

    def stored(self, volume: np.ndarray, codes: str) -> tuple[np.ndarray, np.ndarray]:
        """A volume (z, y, x) of this subject in voxel order `codes`, and its affine."""
        return export.turned(volume, self.affine, codes)

    def pair(self, table: Mapping[str, int], codes: str, **form: object) -> tuple[bytes, bytes]:
        """Contents of the NIfTI files of image and raw labels; `form` as in `export.nifti`."""
        labels = export.raw_labels(self.anatomy, table)
        image, raw = (
            export.nifti(*self.stored(volume, codes), **form) for volume in (self.image, labels)
        )
        return image, raw


def generator(source: str, seed: int, index: int, stream: int) -> np.random.Generator:
    """Random numbers of one stream of a subject; no two sources share any."""
    return files.generator(seed, index, 4 * zlib.crc32(source.encode()) + stream)


def check_options(
    source: str, cases: int, seed: int, size: int, slices: int, most_cases: int = 899
) -> None:
    """Raise InputError for the first of the options every trunk writer has that is impossible."""
    files.check_options(
        source,
        cases=(cases, 1, most_cases),
        seed=(seed, 0, 2**63),
        size=(size, 32, 512),
        slices=(slices, 3, 512),
    )


def body(
    source: str, seed: int, index: int, absent: Absent = (), tumours: Tumours | None = None
) -> Torso:
    """Return subject `index` of a source."""
    rng = generator(source, seed, index, BODY)
    return sample_torso(rng, absent=absent, tumours=tumours or {})


def study(
    protocol: Protocol,
    seed: int,
    index: int,
    shape: tuple[int, int, int],
    absent: Absent = (),
    tumours: Tumours | None = None,
) -> Study:
    """Scan subject `index` on `shape` (z, y, x) voxels; the voxels get the size that it takes."""
    subject = body(protocol.source, seed, index, absent, tumours)
    rng = generator(protocol.source, seed, index, FRAME)
    return scan(protocol, seed, index, subject, _frame(rng, protocol, subject, shape))


def scan(protocol: Protocol, seed: int, index: int, subject: Torso, grid: Grid) -> Study:
    """Scan `subject`, which is number `index`, on a given grid."""
    anatomy = subject.draw(grid)
    rng = generator(protocol.source, seed, index, IMAGE)
    origin = rng.uniform(-150, 150, 3)
    if protocol.sequences:
        sequence = str(rng.choice(protocol.sequences))
        image = torso_mr.acquire_mr(rng, anatomy, sequence=sequence)
    else:
        scanner = CtScanner(
            noise=rng.uniform(*protocol.noise),
            blur_mm=rng.uniform(*protocol.blur) * grid.spacing[2],
            padding=protocol.padding,
        )
        hu = paint_ct(rng, anatomy, phase=str(rng.choice(protocol.phases)))
        image = acquire_ct(rng, hu, grid.spacing, scanner)
    return Study(image, anatomy, export.affine_of(grid, origin))


def _frame(
    rng: np.random.Generator, protocol: Protocol, subject: Torso, shape: tuple[int, int, int]
) -> Grid:
    """Field of view of the protocol, its ends and its middle a little off, as on every table."""
    margin = rng.uniform(*protocol.margin_mm)
    grid = grid_for(subject, protocol.region, shape, margin_mm=margin)
    low, high = np.array(subject.region(protocol.region)) + rng.uniform(-1, 1, 2) * protocol.trim_mm
    off = rng.uniform(-0.5, 0.5, 2) * margin
    return replace(
        grid,
        spacing=(float((high - low) / shape[0]), *grid.spacing[1:]),
        centre=(float((low + high) / 2), grid.centre[1] + off[0], grid.centre[2] + off[1]),
    )
