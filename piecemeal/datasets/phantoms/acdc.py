"""Phantom of ACDC: short-axis cine MR of hearts, in the challenge's official layout.

folder/training/patientNNN holds Info.cfg, patientNNN_4d.nii.gz and, for end diastole and end
systole, patientNNN_frameXX.nii.gz with patientNNN_frameXX_gt.nii.gz (0 background, 1 right
ventricle, 2 myocardium, 3 left ventricle). Header form and odd cases follow the published
archive (Bernard et al., IEEE TMI 2018): the sform of most patients is an unscaled diagonal.
"""

import cmath
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from piecemeal.datasets.phantoms.drawing import chest, files, heart, mr, shapes

GROUPS = ("DCM", "HCM", "MINF", "NOR", "RV")
FRAMES = 4  # of the cine; real ones have 12 to 35
LATE_DIASTOLE = 3  # index of the patient whose end diastole is frame 4
CARRIAGE_RETURNS = 1  # index of the patient whose Info.cfg has CR-LF line ends


def write(
    folder: Path, cases: int, seed: int, *, size: int = 96, slices: int = 8, cine: bool = True
) -> None:
    """Write `cases` patients under folder/training; the marker file PHANTOM comes last.

    size: typical in-plane pixels; 96 gives about 1.25 to 1.9 mm a pixel over a field of view of
    about 150 mm, more pixels first widen the field, then none get smaller than that.
    slices: typical number of slices at 10 mm; more make them thinner.
    cine: also write the 4D file. Diagnostic groups take turns. Case i depends on (seed, i) only.
    Raises InputError for options out of range.
    """
    files.check_options(
        "acdc",
        cases=(cases, 1, 899),
        seed=(seed, 0, 2**63),
        size=(size, 32, 512),
        slices=(slices, 3, 40),
    )
    folder = Path(folder)
    for index in range(cases):
        _write_patient(folder / "training", index, seed, size, slices, cine)
    files.mark(folder, "acdc", cases, seed)


def _write_patient(
    training: Path, index: int, seed: int, size: int, slices: int, cine: bool
) -> None:
    name = f"patient{index + 1:03d}"
    group = GROUPS[index % len(GROUPS)]
    patient = training / name
    patient.mkdir(parents=True, exist_ok=True)
    end_diastole, end_systole = (4, 2) if index == LATE_DIASTOLE else (1, 3)

    subject = Subject(files.generator(seed, index), group, size, slices)
    contractions = {end_diastole: 0.0, end_systole: 1.0}
    frames = range(1, FRAMES + 1) if cine else sorted(contractions)
    images = {}
    for frame in frames:
        contraction = contractions.get(frame, 0.5)
        # One stream a frame: leaving out the cine does not change the two labelled frames.
        images[frame], labels = subject.frame(files.generator(seed, index, frame), contraction)
        if frame in contractions:
            stem = patient / f"{name}_frame{frame:02d}"
            _write(f"{stem}.nii.gz", images[frame], subject.spacing, index)
            _write(f"{stem}_gt.nii.gz", labels, subject.spacing, index)
    if cine:
        volume = np.stack([images[frame] for frame in frames])
        _write(f"{patient / name}_4d.nii.gz", volume, subject.spacing, index)

    facts = {
        "ED": end_diastole,
        "ES": end_systole,
        "Group": group,
        "Height": subject.height,
        "NbFrame": FRAMES,
        "Weight": subject.weight,
    }
    line_end = "\r\n" if index == CARRIAGE_RETURNS else "\n"
    text = "".join(f"{key}: {value}{line_end}" for key, value in facts.items())
    (patient / "Info.cfg").write_bytes(text.encode())


def _write(path: str, volume: np.ndarray, spacing: tuple[float, float, float], index: int) -> None:
    """Write one file with the archive's header: every third patient has a scaled sform too.

    The cine files keep the unscaled one throughout.
    """
    across, down, along = spacing[::-1]
    qform = np.diag([-across, -down, along, 1.0])
    honest = index % 3 == 2 and volume.ndim == 3
    sform = qform if honest else np.diag([-1.0, -1.0, 1.0, 1.0])
    zooms = (across, down, along) if volume.ndim == 3 else (across, down, along, 0.03)
    files.write_nifti(Path(path), volume, zooms, qform, sform)


class Subject:
    """One patient: heart, chest, scanner and field of view; spacing is (z, y, x) in mm."""

    def __init__(self, rng: np.random.Generator, group: str, size: int, slices: int):
        thickness = float(rng.choice([10, 8, 7, 5], p=[0.78, 0.12, 0.07, 0.03])) * 8 / slices
        self.heart = heart.sample_heart(rng, group, 1, partial(shapes.harmonics, rng))
        self.heights = self._slice_heights(rng, thickness)
        drifting = partial(shapes.harmonics, rng, slices=len(self.heights), drift=0.5)
        self.heart = replace(
            self.heart,
            cavity_wobble=self.heart.cavity_wobble + drifting([0.01, 0.02, 0.012, 0.01]),
            right_wobble=self.heart.right_wobble + drifting([0.02, 0.03, 0.025, 0.015]),
        )
        outer = self.heart.radius + self.heart.wall
        left_edge = -(outer + self.heart.depth)
        shape, pixel = self._field_of_view(rng, size, outer - left_edge)
        self.spacing = (thickness, pixel, pixel)
        self.height = round(float(rng.normal(170, 9)), 1)
        self.weight = round(float(rng.normal(77, 13)), 1)

        middle = complex((outer + left_edge) / 2 + rng.uniform(-5, 5), rng.uniform(-3, 8))
        plane = shapes.plane(shape, pixel, middle)
        # Every slice is its own breath-hold, so neighbours do not quite line up.
        hold = rng.normal(0, 1.1, (len(self.heights), 2)) @ [1, 1j]
        self.points = (plane - hold[:, None, None]).astype(np.complex64)
        self.heart_points = self.points * cmath.rect(1, rng.normal(0, 0.16))

        self.tissue = chest.tissue_levels(rng)
        self.scene = chest.paint_chest(
            rng, self.points, self.heights, pixel, left_edge, outer, self.tissue
        )
        self.fat = chest.fat_around(rng, self.heart_points)
        self.flow = 1 + rng.uniform(0.04, 0.12) * shapes.texture(rng, self.scene.shape, 7.0)
        self.trabeculae = shapes.texture(rng, self.scene.shape, 3.0)
        self.grain = 1 + 0.07 * shapes.texture(rng, self.scene.shape, 2.5)
        self.scanner = mr.Scanner(
            blur=rng.uniform(0.55, 0.9),
            noise=rng.uniform(0.025, 0.075),
            gain=rng.uniform(100, 350),
            gamma=rng.uniform(0.85, 1.15),
            bias=mr.bias_field(rng, plane, 0.22),
        )

    def _slice_heights(self, rng: np.random.Generator, thickness: float) -> np.ndarray:
        """Slice positions (slices, 1, 1), from about the valves to about the apex."""
        first = rng.uniform(-0.7, 0.6) * thickness
        last = self.heart.length + 0.8 * self.heart.wall + rng.uniform(-0.8, 0.6) * thickness
        count = max(3, round((last - first) / thickness) + 1)
        return (first + thickness * np.arange(count, dtype=np.float32))[:, None, None]

    @staticmethod
    def _field_of_view(
        rng: np.random.Generator, size: int, heart_across: float
    ) -> tuple[tuple[int, int], float]:
        """Rows and columns, not square, and the pixel size that holds the heart."""
        pixel = rng.choice([1.25, 1.3672, 1.4063, 1.5625, 1.6797, 1.875]) * max(1, 96 / size)
        across = max(rng.uniform(128, 152), heart_across + 38) * max(1, size / 96)
        down = across * rng.uniform(1.03, 1.2)
        rows, columns = (2 * round(extent / pixel / 2) for extent in (down, across))
        if rows == columns:
            rows += 2
        return (rows, columns), float(pixel)

    def frame(self, rng: np.random.Generator, contraction: float) -> tuple[np.ndarray, np.ndarray]:
        """Image int16 and raw labels uint8, (slices, rows, columns), at a `contraction`."""
        section = heart.cut(self.heart, self.heart_points, self.heights, contraction)
        canvas = self.scene.copy()
        self._paint_fat(canvas, section)
        heart.paint_heart(
            canvas,
            section,
            self.spacing[0],
            self.spacing[1],
            self.tissue,
            self.flow,
            self.trabeculae,
        )
        image = mr.acquire(rng, canvas * self.grain, self.scanner)

        _, unit = shapes.direction(self.heart_points)
        slips = [
            shapes.series(unit, self._slip_coefficients(rng)) + rng.normal(0, 0.25)
            for _ in range(3)
        ]
        return image, heart.label(section, slips, self.spacing[1])

    def _slip_coefficients(self, rng: np.random.Generator) -> np.ndarray:
        """Low-order strays (mm) of a hand-drawn contour, independent from slice to slice."""
        count = (3, len(self.heights), 1, 1)
        strays = rng.standard_normal(count) + 1j * rng.standard_normal(count)
        return (0.25 * strays).astype(np.complex64)

    def _paint_fat(self, canvas: np.ndarray, section: heart.Section) -> None:
        """Fat over the outside of both ventricles, under the pericardium."""
        surface = np.minimum(section.outer, section.right - heart.FREE_WALL)
        near_heart = np.clip((section.below_base + 12) / 10, 0, 1)
        shapes.paint(
            canvas,
            near_heart * shapes.coverage(surface - self.fat, self.spacing[1]),
            self.tissue["fat"],
        )
