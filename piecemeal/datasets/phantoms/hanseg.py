"""Phantom of HaN-Seg: CT and MR of the head and neck with organs at risk, in its official layout.

folder/HaN-Seg/set_1/case_NN holds case_NN_IMG_CT.nrrd, case_NN_IMG_MR_T1.nrrd and, for each organ
that this patient has, case_NN_OAR_<organ>.seg.nrrd as 3D Slicer writes it (Podobnik et al., Med
Phys 2023). Organs lie on the CT; the MR has a frame, a size and a posture of its own. In every
other case the eyes' masks are cropped to the organ; case_02 has no left parotid.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import nrrd
import numpy as np

from piecemeal.datasets.phantoms.drawing import figures, files, head_images, mr
from piecemeal.datasets.phantoms.drawing.ct import CtScanner, acquire_ct
from piecemeal.datasets.phantoms.drawing.head import sample_head
from piecemeal.datasets.phantoms.drawing.spaces import Space

# Organ in the file's name -> structure of the drawing.
ORGANS = {
    "A_Carotid_L": "left carotid",
    "A_Carotid_R": "right carotid",
    "Arytenoid": "arytenoid",
    "Bone_Mandible": "mandible",
    "Brainstem": "brainstem",
    "BuccalMucosa": "buccal mucosa",
    "Cavity_Oral": "oral cavity",
    "Cochlea_L": "left cochlea",
    "Cochlea_R": "right cochlea",
    "Cricopharyngeus": "cricopharyngeus",
    "Esophagus_S": "esophagus",
    "Eye_AL": "left eye front",
    "Eye_AR": "right eye front",
    "Eye_PL": "left eye back",
    "Eye_PR": "right eye back",
    "Glnd_Lacrimal_L": "left lacrimal gland",
    "Glnd_Lacrimal_R": "right lacrimal gland",
    "Glnd_Submand_L": "left submandibular gland",
    "Glnd_Submand_R": "right submandibular gland",
    "Glnd_Thyroid": "thyroid",
    "Glottis": "glottis",
    "Larynx_SG": "supraglottic larynx",
    "Lips": "lips",
    "OpticChiasm": "optic chiasm",
    "OpticNrv_L": "left optic nerve",
    "OpticNrv_R": "right optic nerve",
    "Parotid_L": "left parotid",
    "Parotid_R": "right parotid",
    "Pituitary": "pituitary",
    "SpinalCord": "spinal cord",
}
NAMES = tuple(ORGANS.values())
ANATOMY, CT, MR = range(3)  # streams of random numbers of one patient
NO_LEFT_PAROTID = 1  # index of the patient without
TRUNCATED = 2  # index of the patient whose CT breaks off, if asked for
NECK_OF_GULLET = 45.0  # mm below the larynx to which the gullet is outlined


def write(
    folder: Path,
    cases: int,
    seed: int,
    *,
    size: int = 64,
    slices: int = 40,
    doubled: bool = False,
    broken: bool = False,
) -> None:
    """Write `cases` patients under `folder`/HaN-Seg; the marker file PHANTOM comes last.

    size: in-plane pixels of the CT, square, over some 250 mm but no smaller than 1 mm. slices: of
    the CT, over some 250 mm but no thinner than 2 mm. doubled: put the top folder into one of the
    same name, as some copies have it. broken: the CT of case_03 breaks off in the middle. Case i
    depends on (seed, i) only. Raises InputError for options out of range.
    """
    files.check_options(
        "hanseg",
        cases=(cases, 1, 99),
        seed=(seed, 0, 2**63),
        size=(size, 32, 512),
        slices=(slices, 4, 300),
    )
    folder = Path(folder)
    top = folder / "HaN-Seg" / ("HaN-Seg/set_1" if doubled else "set_1")
    for index in range(cases):
        name = f"case_{index + 1:02d}"
        (top / name).mkdir(parents=True, exist_ok=True)
        for part, content in _patient(seed, index, size, slices).items():
            if broken and index == TRUNCATED and part == "IMG_CT.nrrd":
                content = content[: len(content) // 2]
            (top / name / f"{name}_{part}").write_bytes(content)
    files.mark(folder, "hanseg", cases, seed)


def _patient(seed: int, index: int, size: int, slices: int) -> dict[str, bytes]:
    """End of a file's name -> its content, for one patient."""
    rng = files.generator(seed, index, CT)
    subject = sample_head(files.generator(seed, index, ANATOMY), chin_up=12.0)
    pixel = max(1.0, rng.uniform(228, 275) / size)
    spacing = (max(2.0, rng.uniform(235, 265) / slices), pixel, pixel)
    top = rng.uniform(85, 130)
    middle = (top - slices * spacing[0] / 2, rng.uniform(-2, 8), rng.normal(0, 5))
    space = figures.grid((slices, size, size), spacing, middle)
    hu, labels = subject.draw(rng, space, pixel, head_images.ct_palette(rng), NAMES)
    head_images.add_streaks(rng, hu, space, subject.fillings)
    _lay_couch(rng, hu, space)
    scanner = CtScanner(noise=rng.uniform(6, 18), blur_mm=0.35 * pixel)
    image = acquire_ct(rng, hu, spacing, scanner)

    below = space.z[:, 0, 0] < subject.neck.height(subject.neck.larynx[0]) - NECK_OF_GULLET
    gullet = NAMES.index("esophagus") + 1
    labels[below[:, None, None] & (labels == gullet)] = 0
    origin = np.array([axis.ravel()[0] for axis in (space.x, space.y, space.z)])
    origin = origin + rng.normal((0, -150, -700), (30, 60, 300))
    content = {"IMG_CT.nrrd": _nrrd(image, spacing, origin, {})}
    for organ, structure in ORGANS.items():
        mask = (labels == NAMES.index(structure) + 1).astype(np.uint8)
        if mask.any() and not (organ == "Parotid_L" and index == NO_LEFT_PAROTID):
            cropped = organ.startswith("Eye_") and index % 2 == 0
            content[f"OAR_{organ}.seg.nrrd"] = _mask(mask, organ, spacing, origin, cropped)
    content["IMG_MR_T1.nrrd"] = _magnetic_resonance(seed, index, size, slices)
    return content


def _lay_couch(rng: np.random.Generator, hu: np.ndarray, space: Space) -> None:
    """A head rest of thin plastic where the body lies on it, in place."""
    reach = np.flatnonzero((hu > -500).any((0, 2)))
    if not reach.size:
        return
    lowest = space.y[0, reach[-1], 0]
    step = space.y[0, 1, 0] - space.y[0, 0, 0]
    curve = lowest + step - (space.x / 110) ** 2 * rng.uniform(5, 25)
    shell = np.clip(1.2 - np.abs(space.y - curve) / step, 0, 1) * (hu < -900)
    hu += shell * np.float32(rng.uniform(250, 700))


def _magnetic_resonance(seed: int, index: int, size: int, slices: int) -> bytes:
    """T1-weighted MR of the same patient in another posture, field of view and frame."""
    rng = files.generator(seed, index, MR)
    subject = sample_head(files.generator(seed, index, ANATOMY), chin_up=2.0)
    rows = round(0.9 * size)
    count = max(3, round(0.75 * slices))
    pixel = rng.uniform(220, 250) / rows
    spacing = (rng.uniform(200, 230) / count, pixel, pixel)
    middle = (rng.uniform(-45, -25), rng.uniform(-8, 2), rng.normal(0, 3))
    space = figures.grid((count, rows, rows), spacing, middle)
    signal, _ = subject.draw(rng, space, pixel, head_images.mr_palette(rng), ())
    plane = (space.x[:1] + 1j * space.y[:1]).astype(np.complex64)
    scanner = mr.Scanner(
        blur=rng.uniform(0.35, 0.5),
        noise=rng.uniform(0.015, 0.05),
        gain=rng.uniform(300, 1200),
        gamma=rng.uniform(0.9, 1.1),
        bias=mr.bias_field(rng, plane, 0.2),
    )
    image = mr.acquire(rng, signal, scanner).astype(np.uint16)
    origin = np.array([axis.ravel()[0] for axis in (space.x, space.y, space.z)])
    return _nrrd(image, spacing, origin + rng.normal(0, (5, 20, 30)), {})


def _mask(
    mask: np.ndarray,
    organ: str,
    spacing: tuple[float, float, float],
    origin: np.ndarray,
    cropped: bool,
) -> bytes:
    """A segmentation of one organ, on the whole grid or on the organ's box."""
    start = np.zeros(3, int)
    if cropped:
        places = np.argwhere(mask)
        start, stop = places.min(0), places.max(0) + 1
        mask = mask[tuple(slice(*ends) for ends in zip(start, stop, strict=True))]
    extent = " ".join(f"0 {count - 1}" for count in mask.shape[::-1])
    keys = {
        "Segment0_Color": "0.8 0.5 0.3",
        "Segment0_Extent": extent,
        "Segment0_ID": organ,
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment0_Name": organ,
        "Segmentation_MasterRepresentation": "Binary labelmap",
    }
    moved = origin + (start * spacing)[::-1]
    return _nrrd(mask, spacing, moved, keys)


def _nrrd(
    volume: np.ndarray,
    spacing: tuple[float, float, float],
    origin: np.ndarray,
    keys: Mapping[str, str],
) -> bytes:
    """Content of an NRRD file of `volume` (z, y, x), which runs up, back and left.

    origin: (x, y, z) of the first voxel, mm to the left, to the back and up.
    """
    header = {
        "space": "left-posterior-superior",
        "kinds": ["domain", "domain", "domain"],
        "space directions": np.diag(spacing[::-1]),
        "space origin": np.round(origin, 4),
        "encoding": "gzip",
        **keys,
    }
    stream = io.BytesIO()
    nrrd.write(stream, volume.T, header, compression_level=6)
    head, _, data = stream.getvalue().partition(b"\n\n")
    # The library notes the time of day, and the same patient must have the same bytes.
    lines = [line for line in head.split(b"\n") if not line.startswith(b"#")]
    return b"\n".join(lines) + b"\n\n" + data
