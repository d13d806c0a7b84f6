"""Phantom of NIH Pancreas-CT: DICOM series of healthy subjects, labels of the pancreas in NIfTI.

    manifest-1599750808610/Pancreas-CT/PANCREAS_0001/<study>/<series>/1-001.dcm
    TCIA_pancreas_labels-02-05-2017/label0001.nii.gz      uint8: 1 pancreas

As published by Roth et al. (TCIA 2016): rows of a slice run towards the front of the patient
(orientation 1\\0\\0\\0\\-1\\0), slices are numbered from the head down, and labels are stored left,
front, down. Subject 25 has labels but no images. UIDs are made from seed and case, and the dates
are always the same.
"""

import hashlib
import io
from pathlib import Path

import numpy as np

from piecemeal.datasets.phantoms.drawing import export, files, studies
from piecemeal.datasets.phantoms.drawing.packing import leave, zipped
from piecemeal.datasets.phantoms.drawing.studies import Study

VALUES = {"pancreas": 1}
PROTOCOL = studies.Protocol("nihpancreas", noise=(11, 17), padding=-1024, margin_mm=(6, 14))
ORIENTATION = [1, 0, 0, 0, -1, 0]
LABEL_CODES = "LAI"
INTERCEPT = -1024  # stored values are not negative
WITHOUT_IMAGES = 25
IMAGES = "manifest-1599750808610/Pancreas-CT"
LABELS = "TCIA_pancreas_labels-02-05-2017"
MANIFEST = "Pancreas-CT-20200910"
CT_STORAGE, LITTLE_ENDIAN = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


def write(
    folder: Path,
    cases: int,
    seed: int,
    *,
    size: int = 64,
    slices: int = 40,
    packed: bool = False,
    broken: bool = False,
) -> None:
    """Write `cases` subjects and labels without images; the marker file PHANTOM comes last.

    size, slices: voxels in plane and along z. packed: as published, a manifest of series, the zip
    of each in a folder of its name, and the zip of the labels, which has no folder. broken:
    changes nothing, no case of this source is known to be useless. Case i depends on (seed, i)
    only. Raises InputError for options out of range.
    """
    studies.check_options("nihpancreas", cases, seed, size, slices, most_cases=80)
    shape, series, labels = (slices, size, size), {}, {}
    for index in [*range(cases), studies.UNLABELLED]:
        subject = studies.study(PROTOCOL, seed, index, shape)
        number = WITHOUT_IMAGES if index == studies.UNLABELLED else _number(index)
        raw = export.raw_labels(subject.anatomy, VALUES)
        stored = subject.stored(raw, LABEL_CODES)
        labels[f"{LABELS}/label{number:04d}.nii.gz"] = export.nifti(*stored)
        if number != WITHOUT_IMAGES:
            series[number, _uid(seed, index, "series")] = _series(subject, seed, index, number)
    leave(Path(folder), _archives(series, labels) if packed else _tree(series) | labels)
    files.mark(Path(folder), "nihpancreas", cases, seed)


def _number(index: int) -> int:
    """1 to 82 without 25 and 70, of which the images were withdrawn."""
    return index + 1 + (index >= 24) + (index >= 68)


def _tree(series: dict[tuple[int, str], dict[str, bytes]]) -> dict[str, bytes]:
    """Files as the retriever of the archive leaves them."""
    return {
        f"{IMAGES}/PANCREAS_{number:04d}/11-24-2015-PANCREAS{number:04d}-Pancreas-"
        f"{uid[-5:]}/Pancreas-{uid[-10:-5]}/{name}": content
        for (number, uid), files_of in series.items()
        for name, content in files_of.items()
    }


def _archives(
    series: dict[tuple[int, str], dict[str, bytes]], labels: dict[str, bytes]
) -> dict[str, bytes]:
    manifest = ["downloadServerUrl=https://example.org", "ListOfSeriesToDownload="]
    manifest += sorted(uid for _, uid in series)  # in no order of patients
    return {
        f"{MANIFEST}.tcia": "\n".join([*manifest, ""]).encode(),
        f"{LABELS}-1.zip": zipped({name.rpartition("/")[2]: file for name, file in labels.items()}),
        **{f"{MANIFEST}/{uid}.zip": zipped(members) for (_, uid), members in series.items()},
    }


def _uid(seed: int, index: int, what: str) -> str:
    digest = hashlib.sha256(f"nihpancreas {seed} {index} {what}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def _series(subject: Study, seed: int, index: int, number: int) -> dict[str, bytes]:
    """File name -> content of the slices of one subject, those at the head first."""
    pixels = (subject.image[::-1, ::-1].astype(np.int32) - INTERCEPT).clip(0).astype(np.uint16)
    z, y, _ = subject.anatomy.grid.axes()
    # DICOM's world runs to the left and back, NIfTI's to the right and front.
    first = subject.affine[:3, 3] * [-1, -1, 1] + [0, y[-1] - y[0], z[-1] - z[0]]
    step = subject.anatomy.grid.spacing
    head = _head(seed, index, number, step)
    return {
        f"1-{slice_ + 1:03d}.dcm": _slice(
            head, plane, slice_, first - [0, 0, slice_ * step[0]], _uid(seed, index, str(slice_))
        )
        for slice_, plane in enumerate(pixels)
    }


def _head(seed: int, index: int, number: int, spacing: tuple[float, float, float]) -> dict:
    """What all slices of a series have in common."""
    return {
        "SOPClassUID": CT_STORAGE,
        "Modality": "CT",
        "PatientID": f"PANCREAS_{number:04d}",
        "PatientName": f"PANCREAS_{number:04d}",
        "StudyInstanceUID": _uid(seed, index, "study"),
        "SeriesInstanceUID": _uid(seed, index, "series"),
        "FrameOfReferenceUID": _uid(seed, index, "frame"),
        "SeriesDescription": "Pancreas",
        "StudyDate": "20151124",
        "ImageOrientationPatient": ORIENTATION,
        "PixelSpacing": [f"{spacing[1]:.10g}", f"{spacing[2]:.10g}"],
        "SliceThickness": f"{spacing[0]:.10g}",
        "RescaleSlope": 1,
        "RescaleIntercept": INTERCEPT,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }


def _slice(head: dict, plane: np.ndarray, number: int, position: np.ndarray, uid: str) -> bytes:
    import pydicom

    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CT_STORAGE, uid
    meta.TransferSyntaxUID = LITTLE_ENDIAN
    # By default these tell the version of pydicom.
    meta.ImplementationClassUID, meta.ImplementationVersionName = "2.25.1", "PHANTOM"
    slice_ = pydicom.Dataset()
    slice_.file_meta = meta
    for keyword, value in head.items():
        setattr(slice_, keyword, value)
    slice_.SOPInstanceUID, slice_.InstanceNumber = uid, number + 1
    slice_.ImagePositionPatient = [f"{mm:.10g}" for mm in position]
    slice_.Rows, slice_.Columns = plane.shape
    slice_.PixelData = plane.astype("<u2").tobytes()
    content = io.BytesIO()
    slice_.save_as(content, enforce_file_format=True)
    return content.getvalue()
