"""Phantom of the TotalSegmentator CT data set: one binary mask a structure, any part of the trunk.

    [Totalsegmentator_dataset/]meta.csv                              separated by ;
    [Totalsegmentator_dataset/]s0000/ct.nii.gz                       int16
    [Totalsegmentator_dataset/]s0000/segmentations/spleen.nii.gz     uint8, one file a structure

As published by Wasserthal et al. (Radiology: Artificial Intelligence 2023): isotropic voxels that
run right, front and up. What is not in the field of view has an empty mask. What a subject lacks
has no mask in version 1, an empty one in version 2, which adds the prostate (nothing stands for
the uterus). Masks are drawn one by one: the spleen of the first subject reaches into the stomach,
and its liver has a voxel of value 4.

Fields of view take turns: abdomen, pelvis, chest, and a stretch from anywhere in the trunk. Of
every five subjects the fourth is for validation and the fifth for the test; the small subset has
no test, its fifth is for training.
"""

import csv
import io
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from piecemeal.datasets.phantoms.drawing import export, files, studies
from piecemeal.datasets.phantoms.drawing.packing import Archive, leave
from piecemeal.datasets.phantoms.drawing.tissues import STRUCTURE
from piecemeal.datasets.phantoms.drawing.torso import Anatomy, Grid, Torso
from piecemeal.errors import InputError

SIDED = {
    "kidney": "kidney",
    "adrenal_gland": "adrenal gland",
    "gluteus_maximus": "gluteus maximus",
    "gluteus_medius": "gluteus medius",
    "gluteus_minimus": "gluteus minimus",
    "hip": "hip",
    "femur": "femur",
    "scapula": "scapula",
    "humerus": "humerus",
    "clavicula": "clavicle",
}
STEMS = {
    "spleen": "spleen",
    "gallbladder": "gallbladder",
    "esophagus": "esophagus",
    "liver": "liver",
    "stomach": "stomach",
    "aorta": "aorta",
    "inferior_vena_cava": "inferior vena cava",
    "portal_vein_and_splenic_vein": "portal and splenic vein",
    "pancreas": "pancreas",
    "duodenum": "duodenum",
    "urinary_bladder": "bladder",
    "lung_upper_lobe_left": "left upper lung lobe",
    "lung_lower_lobe_left": "left lower lung lobe",
    "lung_upper_lobe_right": "right upper lung lobe",
    "lung_middle_lobe_right": "right middle lung lobe",
    "lung_lower_lobe_right": "right lower lung lobe",
    "colon": "colon",
    "sacrum": "sacrum",
    "autochthon_left": "left autochthon",
    **{
        f"{stem}_{side}": f"{side} {name}"
        for stem, name in SIDED.items()
        for side in ("left", "right")
    },
}
# Parts of what is drawn as one structure: heights (mm, see torso) and, for a rib, the left side.
FIRST_RIB_ABOVE, FIRST_LUMBAR = 370.0, (85.0, 119.0)

WRAPPER = "Totalsegmentator_dataset/"
ARCHIVES = {
    "v1": "Totalsegmentator_dataset.zip",
    "v2": "Totalsegmentator_dataset_v201.zip",
    "small": "Totalsegmentator_dataset_small_v201.zip",
}
REGIONS = ("abdomen", "pelvis", "chest", "trunk")
SHORTEST_MM = 230.0  # height of the abdomen
PLANE_MM = 400.0
WIDEST_MM = 500.0  # what a scanner sees; elbows lie outside
MARGIN_MM = 12.0
PROTOCOL = studies.Protocol(
    "totalsegmentator",
    phases=("native", "arterial", "portal"),
    noise=(7, 20),
    blur=(0.25, 0.45),
)
OVERLAP, TRUNCATED, NO_GALLBLADDER, ONE_KIDNEY, TUMOURS = 0, 2, 4, 8, 12  # indices of subjects
COLUMNS = ("image_id", "age", "gender", "institute", "study_type", "split")
COLUMNS_2 = ("manufacturer", "scanner_model", "kvp", "pathology", "pathology_location")


def write(
    folder: Path,
    cases: int,
    seed: int,
    *,
    flavour: str = "small",
    wrapper: bool | None = None,
    size: int = 60,
    slices: int = 44,
    packed: bool = False,
    broken: bool = False,
) -> None:
    """Write `cases` subjects; the marker file PHANTOM comes last.

    flavour: "v1", "v2" (2.0.1) or "small", its subset. wrapper: whether all lies in a folder
    Totalsegmentator_dataset; as in version 1 if None. size: voxels of a plane of 400 mm, so 267
    gives the published 1.5 mm; a plane is as large as its subject. slices: most of a subject; they
    get thicker than a pixel only where so few could not hold an abdomen. packed: as the one
    published zip. broken: the CT of the third subject is cut short. Case i depends on (seed, i)
    only. Raises InputError for options out of range.
    """
    studies.check_options("totalsegmentator", cases, seed, size, slices, most_cases=640)
    if flavour not in ARCHIVES:
        known = ", ".join(ARCHIVES)
        raise InputError(f"phantom totalsegmentator: flavour is {flavour!r}, expected {known}")
    tree, rows = {}, []
    for index in range(cases):
        name = f"s{index + index // 3:04d}"
        absent = _absent(index)
        body = studies.body(PROTOCOL.source, seed, index, absent, _tumours(index))
        subject = studies.scan(PROTOCOL, seed, index, body, _grid(body, seed, index, size, slices))
        rows.append(_row(name, index, seed, body.sex, flavour))
        ct = export.nifti(*subject.stored(subject.image, "RAS"))
        cut_short = broken and index == TRUNCATED
        tree[f"{name}/ct.nii.gz"] = ct[: len(ct) // 2] if cut_short else ct
        for stem, mask in _masks(subject.anatomy, body.sex, flavour, index).items():
            if flavour == "v1" and STEMS.get(stem) in absent:
                continue
            content = export.nifti(*subject.stored(mask, "RAS"))
            tree[f"{name}/segmentations/{stem}.nii.gz"] = content
    tree["meta.csv"] = _meta(rows)
    if wrapper or (wrapper is None and flavour == "v1"):
        tree = {f"{WRAPPER}{name}": content for name, content in tree.items()}
    leave(Path(folder), tree, [Archive(ARCHIVES[flavour])] if packed else None)
    files.mark(Path(folder), "totalsegmentator", cases, seed)


def _absent(index: int) -> list[str]:
    return [
        *(["gallbladder"] if index % 20 == NO_GALLBLADDER else []),
        *(["left kidney"] if index % 20 == ONE_KIDNEY else []),
    ]


def _tumours(index: int) -> dict[str, int]:
    return {"liver tumour": 2, "kidney tumour": 1} if index % 20 == TUMOURS else {}


def _grid(body: Torso, seed: int, index: int, size: int, slices: int) -> Grid:
    """Field of view: a plane around the body, and as much of the region as `slices` hold."""
    rng = studies.generator(PROTOCOL.source, seed, index, studies.FRAME)
    pixel = PLANE_MM / size
    step = max(pixel, SHORTEST_MM / slices)
    low, high = np.array(body.region(REGIONS[index % len(REGIONS)])) + rng.uniform(-12, 12, 2)
    count = max(3, min(slices, round((high - low) / step)))
    low += rng.uniform(0, 1) * max(0.0, high - low - count * step)
    front, back, right, left = body.extent(low, low + count * step)
    rows, columns = (
        int(min(span + 2 * MARGIN_MM, WIDEST_MM) / pixel) + 1
        for span in (back - front, left - right)
    )
    centre = (low + count * step / 2, (front + back) / 2, (right + left) / 2)
    return Grid((count, rows, columns), (step, pixel, pixel), tuple(float(mm) for mm in centre))


def _masks(anatomy: Anatomy, sex: str, flavour: str, index: int) -> dict[str, np.ndarray]:
    """Stem -> mask, uint8 (z, y, x); 1 inside, and one 4 in the first subject's liver."""
    masks = {stem: export.raw_labels(anatomy, {structure: 1}) for stem, structure in STEMS.items()}
    z, _, x = anatomy.grid.axes()
    lumbar = (z > FIRST_LUMBAR[0]) & (z < FIRST_LUMBAR[1])
    top_left = (z > FIRST_RIB_ABOVE)[:, None, None] & (x > 0)
    masks["vertebrae_L1"] = _part(anatomy, "vertebrae", lumbar[:, None, None])
    masks["rib_left_1"] = _part(anatomy, "ribs", top_left)
    if flavour != "v1":
        masks["prostate"] = _part(anatomy, "prostate or uterus", np.array(sex == "male"))
    if index == OVERLAP:
        masks["spleen"] |= _next_to(masks["spleen"], masks["stomach"])
        if masks["liver"].any():
            masks["liver"].flat[np.flatnonzero(masks["liver"])[0]] = 4
    return masks


def _part(anatomy: Anatomy, structure: str, where: np.ndarray) -> np.ndarray:
    return ((anatomy.structures == STRUCTURE[structure]) & where).astype(np.uint8)


def _next_to(mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The tenth of the voxels of `other` that is nearest to `mask`."""
    if not mask.any() or not other.any():
        return np.zeros_like(mask)
    distance = distance_transform_edt(mask == 0)
    reach = np.quantile(distance[other > 0], 0.1)
    return ((other > 0) & (distance <= reach)).astype(np.uint8)


def _row(name: str, index: int, seed: int, sex: str, flavour: str) -> dict[str, object]:
    rng = studies.generator(PROTOCOL.source, seed, index, studies.FILES)
    split = {3: "val", 4: "train" if flavour == "small" else "test"}.get(index % 5, "train")
    row = {
        "image_id": name,
        "age": int(rng.integers(18, 95)),
        "gender": sex[0],
        "institute": str(rng.choice(list("ABCDEF"))),
        "study_type": f"ct {REGIONS[index % len(REGIONS)]}",
        "split": split,
    }
    if flavour == "v1":
        return row
    maker = rng.choice(["Maker A;Model 1", "Maker B;Model 2"]).split(";")
    about = (*maker, int(rng.choice([80, 100, 120])), "no_pathology", "")
    return row | dict(zip(COLUMNS_2, about, strict=True))


def _meta(rows: list[dict[str, object]]) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), delimiter=";", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode("utf-8-sig")
