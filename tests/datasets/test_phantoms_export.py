"""From drawings to files: voxel order, raw values, header forms, and the published archives."""

import gzip
import io
import re
import tarfile
import time
import zipfile
from itertools import permutations, product

import nibabel as nib
import numpy as np
import py7zr
import pydicom
import pytest

from piecemeal.datasets import phantoms
from piecemeal.datasets.phantoms.drawing import export, packing
from piecemeal.datasets.phantoms.drawing.tissues import STRUCTURE
from piecemeal.datasets.phantoms.drawing.torso import Anatomy, Grid
from piecemeal.errors import InputError

SMALL = {"size": 40, "slices": 12}

# Voxels and values


GRID = Grid((4, 3, 2), (5.0, 3.0, 2.0), (100.0, 10.0, -20.0))


def test_affine_puts_voxels_where_the_drawing_has_them():
    # First voxel, as (right, front, up): x = -(-20 - 1), y = -(10 - 3), z = 100 - 7.5.
    affine = export.affine_of(GRID, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(affine[:3, 3], [20, -9, 89.5])
    np.testing.assert_allclose(affine[:3, :3], np.diag([-2, -3, 5]))


ALL_CODES = [
    "".join(letters) for order in permutations(["RL", "AP", "SI"]) for letters in product(*order)
]


@pytest.mark.parametrize("wanted", ALL_CODES)
def test_turning_leaves_every_voxel_in_its_place(wanted):
    drawing = np.arange(24).reshape(GRID.shape)
    affine = export.affine_of(GRID)
    voxels, turned = export.turned(drawing, affine, wanted)
    assert "".join(nib.aff2axcodes(turned)) == wanted
    for z, y, x in np.ndindex(drawing.shape):
        place = nib.affines.apply_affine(affine, (x, y, z))
        index = nib.affines.apply_affine(np.linalg.inv(turned), place)
        assert voxels[tuple(np.rint(index).astype(int))] == drawing[z, y, x]


def anatomy_of(*names, shape=(1, 1, -1), spacing=(10.0, 1.0, 1.0)):
    structures = np.array([STRUCTURE[name] for name in names], np.uint8).reshape(shape)
    grid = Grid(structures.shape, spacing, (0.0, 0.0, 0.0))
    return Anatomy(structures, np.zeros_like(structures), grid)


def test_what_a_source_does_not_label_is_zero():
    anatomy = anatomy_of("", "liver", "spleen", "pancreas")
    assert export.raw_labels(anatomy, {"spleen": 7}).ravel().tolist() == [0, 0, 7, 0]


def test_tumour_belongs_to_its_organ_unless_it_has_a_value():
    anatomy = anatomy_of("kidney tumour", "liver tumour", "spleen", "kidney tumour")
    sides = {"right kidney": 2, "left kidney": 3, "liver": 6}
    assert export.raw_labels(anatomy, sides).ravel().tolist() == [2, 6, 0, 3]
    own = {"right kidney": 1, "left kidney": 1, "kidney tumour": 2}
    assert export.raw_labels(anatomy, own).ravel().tolist() == [2, 0, 0, 2]


def test_femoral_head_is_the_top_of_the_femur():
    anatomy = anatomy_of("", *["right femur"] * 8, "", shape=(-1, 1, 1))
    raw = export.raw_labels(anatomy, {"right femoral head": 9}).ravel()
    # 52 mm below the highest of voxels 10 mm apart.
    assert raw.tolist() == [0, 0, 0, 9, 9, 9, 9, 9, 9, 0]


def test_unknown_structure_in_a_table_is_named():
    with pytest.raises(InputError, match="lver"):
        export.raw_labels(anatomy_of("liver"), {"lver": 1})


@pytest.mark.parametrize(
    ("form", "expected"), [("both", (1, 1)), ("sform", (0, 1)), ("qform", (1, 0))]
)
def test_header_forms(form, expected):
    affine = export.affine_of(GRID)
    content = export.nifti(np.zeros((2, 3, 4), np.int16), affine, form)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    assert (image.header["qform_code"], image.header["sform_code"]) == expected
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)


def test_archive_holds_what_lies_below():
    tree = {"Mask/b": b"2", "Mask/a": b"1", "images/c": b"3"}
    archive = packing.Archive("Mask.zip", "Mask/", without="Mask/")
    assert archive.members(tree) == {"a": b"1", "b": b"2"}


# Archives


def unpacked(path):
    """Member -> content of a zip, tar or 7z."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    if path.suffix == ".tar":
        with tarfile.open(path, "r:") as archive:
            return {member.name: archive.extractfile(member).read() for member in archive}
    with py7zr.SevenZipFile(path) as archive:
        factory = py7zr.io.BytesIOFactory(10**7)
        archive.extractall(factory=factory)
        return {name: content.read() for name, content in factory.products.items()}


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def without_marker(folder):
    return {name: data for name, data in files_of(folder).items() if name != "PHANTOM"}


@pytest.mark.parametrize(
    ("source", "archive"),
    [
        ("amos22", "amos22.zip"),
        ("btcv", "RawData.zip"),
        ("flare22", "FLARE22Train.zip"),
        ("msd", "Task09_Spleen.tar"),
        ("urogram", "urogram.zip"),
    ],
)
def test_one_archive_holds_the_whole_tree(source, archive, tmp_path):
    phantoms.load(source).write(tmp_path / "packed", 2, 3, packed=True, **SMALL)
    phantoms.load(source).write(tmp_path / "loose", 2, 3, **SMALL)
    assert sorted(files_of(tmp_path / "packed")) == sorted(["PHANTOM", archive])
    assert unpacked(tmp_path / "packed" / archive) == without_marker(tmp_path / "loose")


def test_archives_of_lits(tmp_path):
    write = phantoms.load("lits").write
    write(tmp_path / "packed", 2, 3, packed=True, **SMALL)
    write(tmp_path / "loose", 2, 3, **SMALL)
    loose = without_marker(tmp_path / "loose")
    for batch in "12":
        members = unpacked(tmp_path / f"packed/Training_Batch{batch}.zip")
        assert members.items() <= loose.items()
        assert all(f"Training Batch {batch}/" in name for name in members)
        assert len(members) == 2
    write(tmp_path / "torrent", 1, 3, tree="torrent", packed=True, **SMALL)
    assert list(unpacked(tmp_path / "torrent/volume-0.nii.zip")) == ["volume-0.nii"]


def test_archives_of_abdomenct1k(tmp_path):
    for name, packed in (("packed", True), ("loose", False)):
        phantoms.load("abdomenct1k").write(tmp_path / name, 3, 3, packed=packed, **SMALL)
    loose = without_marker(tmp_path / "loose")
    found = {f"Mask/{k}": v for k, v in unpacked(tmp_path / "packed/Mask.7z").items()}
    for part in "123":
        found |= unpacked(tmp_path / f"packed/AbdomenCT-1K-ImagePart{part}.zip")
    assert found == loose


def test_kits_is_published_file_by_file(tmp_path):
    for name, packed in (("packed", True), ("loose", False)):
        phantoms.load("kits19").write(tmp_path / name, 1, 3, packed=packed, **SMALL)
    assert files_of(tmp_path / "packed") == files_of(tmp_path / "loose")


def test_labels_of_the_word_test_come_in_a_zip_of_their_own(tmp_path):
    for name, packed in (("packed", True), ("loose", False)):
        phantoms.load("word").write(tmp_path / name, 6, 3, packed=packed, **SMALL)
    loose = without_marker(tmp_path / "loose")
    assert unpacked(tmp_path / "packed/WORD-V0.1.0.zip") == loose
    name = "labelsTs/word_0006.nii.gz"
    tests = unpacked(tmp_path / "packed/WORD_V0.1.0_labelsTs.zip")
    assert tests == {name: loose[f"WORD-V0.1.0/{name}"]}


def test_parts_of_nihpancreas(tmp_path):
    for name, packed in (("packed", True), ("loose", False)):
        phantoms.load("nihpancreas").write(tmp_path / name, 2, 3, packed=packed, **SMALL)
    folder = tmp_path / "packed"
    lines = (folder / "Pancreas-CT-20200910.tcia").read_text().splitlines()
    uids = [line for line in lines if re.fullmatch(r"\d+(\.\d+)+", line)]
    found = [unpacked(folder / f"Pancreas-CT-20200910/{uid}.zip") for uid in uids]
    loose = without_marker(tmp_path / "loose")
    contents = {data for members in found for data in members.values()}
    assert contents == {data for name, data in loose.items() if name.endswith(".dcm")}
    slice_ = pydicom.dcmread(io.BytesIO(found[0]["1-001.dcm"]))
    assert slice_.SeriesInstanceUID == uids[0]
    labels = unpacked(folder / "TCIA_pancreas_labels-02-05-2017-1.zip")
    assert sorted(labels) == ["label0001.nii.gz", "label0002.nii.gz", "label0025.nii.gz"]
    assert set(labels.values()) <= set(loose.values())


@pytest.mark.parametrize("kind", ["zip", "tar", "7z"])
def test_archive_does_not_tell_when_it_was_packed(kind, monkeypatch):
    archive = packing.Archive(f"all.{kind}")
    tree = {"b": b"2", "folder/a": b"1" * 100}
    first = archive.packed(tree)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1000)
    assert archive.packed(dict(reversed(tree.items()))) == first
