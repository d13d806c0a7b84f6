"""Tiny data sets in their official layouts, written with nibabel."""

import multiprocessing
import socket
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from piecemeal import provenance

SPACING = (1.5, 1.5, 10.0)  # x, y, z


def write_volume(path: Path, voxels: np.ndarray, spacing=SPACING, shift=0.0) -> None:
    """Write voxels (x, y, z) with a diagonal affine, moved along x by `shift` mm."""
    affine = np.diag([*spacing, 1.0])
    affine[0, 3] = shift
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)


def draw(seed: int, shape=(20, 24, 3)) -> tuple[np.ndarray, np.ndarray]:
    """An image (int16) and labels 0 to 3 (uint8): three bars in noise, (x, y, z)."""
    labels = np.zeros(shape, np.uint8)
    for value in (1, 2, 3):
        labels[4 * value : 4 * value + 4, 6:16, :] = value
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 5, shape)
    # A shading of each scan's own: alike but for noise, two would be taken for the same scan.
    waves = [np.cos(rng.uniform(0.2, 1) * np.arange(n) + rng.uniform(0, 6)) for n in shape[:2]]
    shading = 100 * np.outer(*waves)[:, :, None]
    return (100 * labels + shading + noise).astype(np.int16), labels


def write_patient(root: Path, number: int, es: int = 12, group: str = "DCM") -> Path:
    folder = root / f"patient{number:03d}"
    for frame in (1, es):
        image, labels = draw(100 * number + frame)
        write_volume(folder / f"{folder.name}_frame{frame:02d}.nii.gz", image)
        write_volume(folder / f"{folder.name}_frame{frame:02d}_gt.nii.gz", labels)
    (folder / "Info.cfg").write_text(f"ED: 1\nES: {es}\nGroup: {group}\nNbFrame: 30\n")
    return folder


def slice_of(pixels, position, **elements) -> FileDataset:
    """A CT slice, stored values int16; `elements` replace or (None) remove what it says."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    values = {
        "PatientID": "PANCREAS_0001",
        "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.1",
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": list(position),
        "PixelSpacing": [2.0, 0.5],  # between rows, between columns
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": 2,
        "RescaleIntercept": -1000,
        "PixelData": pixels.astype("<i2").tobytes(),
    }
    for name, value in (values | elements).items():
        if value is not None:
            setattr(dataset, name, value)
    return dataset


@pytest.fixture
def dicom_slice():
    """`dicom_slice(pixels, position, **elements)`: a CT slice in memory; it has `save_as`."""
    return slice_of


@pytest.fixture
def volumes():
    return SimpleNamespace(write=write_volume, draw=draw, patient=write_patient)


@pytest.fixture
def acdc(tmp_path) -> Path:
    """The root of an ACDC folder of four patients."""
    root = tmp_path / "acdc"
    for number in (1, 2, 3, 4):
        write_patient(root, number)
    return root


@pytest.fixture
def arguments(acdc) -> dict:
    """Arguments of `prepare` for that folder."""
    names = ["right ventricle", "myocardium", "left ventricle"]
    source = {
        "root": acdc,
        "layout": "acdc",
        "layout_options": {},
        "labels": [[value, name] for value, name in enumerate(names, start=1)],
        "sides": {},
        "side_check": [],
        "unit_spacing": "reject",
        "modality": "MR",
        "other_modality": {},
    }
    return {
        "sources": {"acdc": source},
        "structures": {name: [name] for name in names},
        "orientation": "file",
        "grid": {"spacing_mm": [None, 2.0, 2.0], "size": [None, 16, 16], "fit": False},
        "intensity": {"MR": {"kind": "zscore"}},
        "split": {"seed": 1, "train": 2, "validation": 1, "test": 1},
    }


def _hold(folder: Path, held, release, let_go) -> None:
    with provenance.locked(folder):
        held.set()
        release.wait(300)
        let_go.set()


@pytest.fixture
def waits(monkeypatch):
    """`waits(folder, work)`: another process holds the folder, and `work` begins after it ends."""

    def check(folder: Path, work) -> None:
        context = multiprocessing.get_context("fork")
        held, release, let_go = context.Event(), context.Event(), context.Event()
        other = context.Process(target=_hold, args=(folder, held, release, let_go))
        other.start()
        assert held.wait(300)
        before = sorted(folder.iterdir())
        said = []

        def warning(text, *values):
            said.append(text % values)
            assert sorted(folder.iterdir()) == before
            release.set()  # only now, so that the lock was held when this process asked for it

        monkeypatch.setattr(provenance.log, "warning", warning)
        try:
            work()
        finally:
            release.set()
            other.join(300)
        holder = f"process {other.pid} on {socket.gethostname()}"
        assert said == [f"{folder} is held by {holder}; waiting until it ends"]
        assert let_go.is_set()
        assert other.exitcode == 0

    return check
