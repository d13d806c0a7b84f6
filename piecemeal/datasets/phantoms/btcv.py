"""Phantom of the BTCV abdomen set: portal venous CT from the chest's base to the pelvis.

    RawData/Training/img/img0001.nii.gz         int16
    RawData/Training/label/label0001.nii.gz     uint8, 13 organs
    RawData/Testing/img/img0061.nii.gz          without labels

Layout and values as published by Landman et al. (MICCAI 2015, Multi-Atlas Labeling Beyond the
Cranial Vault): 10 is the portal and splenic vein, and there is no duodenum. Some patients have no
gallbladder.
"""

from pathlib import Path

from piecemeal.datasets.phantoms.drawing import files, studies
from piecemeal.datasets.phantoms.drawing.packing import Archive, leave
from piecemeal.errors import InputError

VALUES = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "esophagus": 5,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior vena cava": 9,
    "portal and splenic vein": 10,
    "pancreas": 11,
    "right adrenal gland": 12,
    "left adrenal gland": 13,
}
PROTOCOL = studies.Protocol("btcv", region="abdomen_pelvis", noise=(12, 20), padding=-1024)
CODES = "LAS"
NO_GALLBLADDER = 1  # index of the first of every twelve patients that has none
TEST_CASE = 61


def write(
    folder: Path,
    cases: int,
    seed: int,
    *,
    size: int = 64,
    slices: int = 40,
    tests: str = "Testing",
    packed: bool = False,
    broken: bool = False,
) -> None:
    """Write `cases` labelled patients and one without labels; the marker file PHANTOM comes last.

    size, slices: voxels in plane and along z. tests: folder of the patients without labels,
    "Testing" or, as in some copies, "Test". packed: as the published RawData.zip. broken: changes
    nothing, no case of this source is known to be useless. Case i depends on (seed, i) only.
    Raises InputError for options out of range.
    """
    studies.check_options("btcv", cases, seed, size, slices)
    if tests not in ("Testing", "Test"):
        raise InputError(f"phantom btcv: tests is {tests!r}, expected 'Testing' or 'Test'")
    shape, tree = (slices, size, size), {}
    for index in range(cases):
        absent = ["gallbladder"] if index % 12 == NO_GALLBLADDER else []
        patient, name = studies.study(PROTOCOL, seed, index, shape, absent), f"{_number(index):04d}"
        image, labels = patient.pair(VALUES, CODES)
        tree[f"RawData/Training/img/img{name}.nii.gz"] = image
        tree[f"RawData/Training/label/label{name}.nii.gz"] = labels
    image, _ = studies.study(PROTOCOL, seed, studies.UNLABELLED, shape).pair(VALUES, CODES)
    tree[f"RawData/{tests}/img/img{TEST_CASE:04d}.nii.gz"] = image
    leave(Path(folder), tree, [Archive("RawData.zip")] if packed else None)
    files.mark(Path(folder), "btcv", cases, seed)


def _number(index: int) -> int:
    """Training patients are 1 to 10 and 21 to 40, test patients 61 to 80; more follow these."""
    return index + (1 if index < 10 else 11 if index < 30 else 71)
