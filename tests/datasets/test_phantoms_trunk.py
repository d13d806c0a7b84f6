"""Trunk phantoms: each source's own layout, raw values, geometry and oddities, one kind of body."""

import json
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest

from piecemeal.datasets import phantoms
from piecemeal.errors import InputError

CASES = 6
ORGANS = (
    *("spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach"),
    *("aorta", "inferior vena cava", "pancreas", "right adrenal gland", "left adrenal gland"),
    *("duodenum", "bladder", "prostate or uterus", "portal and splenic vein"),
)
# Raw value of each of ORGANS as the publishers state them, 0 where a source has none.
PUBLISHED = {
    "amos22": (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0),
    "btcv": (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 0, 0, 0, 10),
    "flare22": (3, 2, 13, 9, 10, 1, 11, 5, 6, 4, 7, 8, 12, 0, 0, 0),
    "abdomenct1k": (3, 2, 2, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0),
    "word": (2, 4, 3, 6, 7, 1, 5, 0, 0, 8, 12, 12, 9, 14, 0, 0),
    "nihpancreas": (0,) * 9 + (1,) + (0,) * 6,
    "urogram": (0, 1, 2) + (0,) * 10 + (3, 0, 0),
    "lits": (0, 0, 0, 0, 0, 1) + (0,) * 10,
    "kits19": (0, 1, 1) + (0,) * 13,
    "msd": (1,) + (0,) * 15,
}
OTHER_VALUES = {"word": {10, 11, 13, 15, 16}, "lits": {2}, "kits19": {2}}
LABELS = {
    "amos22": "amos22/labels*/amos_*.nii.gz",
    "btcv": "RawData/Training/label/*.nii.gz",
    "flare22": "FLARE22Train/labels/*.nii.gz",
    "abdomenct1k": "Mask/*.nii.gz",
    "word": "WORD-V0.1.0/labels*/*.nii.gz",
    "nihpancreas": "**/label*.nii.gz",
    "urogram": "*_labels.nii.gz",
    "lits": "**/segmentation-*.nii",
    "kits19": "data/case_*/segmentation.nii.gz",
    "msd": "Task09_Spleen/labelsTr/spleen_*.nii.gz",
}
# Part of the labels' path -> part of the image's path.
IMAGE = {
    "amos22": ("/labels", "/images"),
    "btcv": ("label", "img"),
    "flare22": (r"labels/(.*)\.nii", r"images/\1_0000.nii"),
    "word": ("/labels", "/images"),
    "urogram": ("_labels", ""),
    "lits": ("segmentation", "volume"),
    "kits19": ("segmentation", "imaging"),
    "msd": ("labelsTr", "imagesTr"),
}
SOURCES = (*PUBLISHED, "totalsegmentator")
SMALL = {"size": 40, "slices": 12}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder of a source's phantom at default size, drawn when it is first asked for."""
    folders = {}

    def get(source):
        if source not in folders:
            folders[source] = tmp_path_factory.mktemp(source)
            phantoms.load(source).write(folders[source], CASES, 3)
        return folders[source]

    return get


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def labels_of(folder, source):
    """NIfTI images of labels, in order of their paths."""
    found = sorted(p for p in folder.glob(LABELS[source]) if not p.name.startswith("._"))
    return {path: nib.load(path) for path in found}


def pairs(folder, source):
    """(image, labels) of every labelled case, for sources that keep both in NIfTI."""
    if source == "abdomenct1k":
        for path, labels in labels_of(folder, source).items():
            (image,) = folder.glob(f"*/{path.name[:10]}_0000.nii.gz")
            yield nib.load(image), labels
        return
    for path, labels in labels_of(folder, source).items():
        name = re.sub(*IMAGE[source], path.relative_to(folder).as_posix())
        yield nib.load(folder / name), labels


def centre(image, values):
    """World position (mm; right, front, up) of the middle of voxels of these values, or None."""
    voxels = np.argwhere(np.isin(np.asarray(image.dataobj), values))
    return nib.affines.apply_affine(image.affine, voxels.mean(0)) if len(voxels) else None


def codes(image):
    return "".join(nib.aff2axcodes(image.affine))


# Every source


@pytest.mark.parametrize("source", SOURCES)
def test_case_depends_on_seed_and_number_only(source, tmp_path):
    for name, cases in (("few", 1), ("more", 2)):
        phantoms.load(source).write(tmp_path / name, cases, 5, **SMALL)
    few, more = files_of(tmp_path / "few"), files_of(tmp_path / "more")
    scans = {name for name in few if not name.endswith((".json", ".csv", "PHANTOM"))}
    assert scans
    assert {name: few[name] for name in scans} == {name: more[name] for name in scans}


@pytest.mark.parametrize("source", SOURCES)
def test_files_are_small(source, written):
    sizes = {path: path.stat().st_size for path in written(source).rglob("*") if path.is_file()}
    assert max(sizes.values()) < 200_000
    assert sum(sizes.values()) < 5_000_000


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("option", [{"cases": 0}, {"size": 8}, {"slices": 2.5}])
def test_impossible_options_are_named(source, option, tmp_path):
    with pytest.raises(InputError, match=next(iter(option))):
        phantoms.load(source).write(tmp_path, **{"cases": 1, "seed": 0, **option})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("source", sorted(PUBLISHED))
def test_raw_values_are_the_published_ones(source, written):
    found = set()
    for labels in labels_of(written(source), source).values():
        found |= set(np.unique(np.asarray(labels.dataobj)).tolist())
    assert found == {0, *PUBLISHED[source], *OTHER_VALUES.get(source, ())}


@pytest.mark.parametrize("source", sorted(PUBLISHED))
def test_value_table_of_the_writer_is_the_published_one(source):
    writer = phantoms.load(source)
    table = writer.TASKS["spleen"].values if source == "msd" else writer.VALUES
    assert tuple(table.get(organ, 0) for organ in ORGANS) == PUBLISHED[source]


@pytest.mark.parametrize("source", sorted(IMAGE.keys() | {"abdomenct1k"}))
def test_image_and_labels_share_the_grid(source, written):
    cases = list(pairs(written(source), source))
    assert len(cases) == CASES
    for image, labels in cases:
        assert image.shape == labels.shape
        np.testing.assert_allclose(image.affine, labels.affine, atol=1e-3)
        assert np.asarray(labels.dataobj).any()
        lengths = np.linalg.norm(image.affine[:3, :3], axis=0)
        np.testing.assert_allclose(image.header.get_zooms(), lengths, rtol=1e-5)


@pytest.mark.parametrize("source", sorted(IMAGE.keys() | {"abdomenct1k"}))
def test_plane_holds_the_whole_body(source, written):
    for image, _ in pairs(written(source), source):
        upright = nib.as_closest_canonical(image)
        voxels, (across, deep, _) = np.asarray(upright.dataobj), upright.header.get_zooms()
        assert voxels.shape[0] * across > 250
        assert voxels.shape[1] * deep > 180
        air = -500 if voxels.min() < -500 else 0.25 * voxels.max()
        # Front half only: behind the patient there is a couch.
        half = voxels[:, voxels.shape[1] // 2 :]
        edge = np.concatenate([half[[0, -1]].ravel(), half[:, -1].ravel()])
        assert (edge < air).mean() > 0.97


@pytest.mark.parametrize("source", ["amos22", "btcv", "flare22", "abdomenct1k", "word"])
def test_liver_and_right_kidney_are_on_the_right(source, written):
    table = phantoms.load(source).VALUES
    for labels in labels_of(written(source), source).values():
        liver, spleen = (centre(labels, table[name]) for name in ("liver", "spleen"))
        assert liver[0] > spleen[0] + 30
        right, left = (centre(labels, table[f"{side} kidney"]) for side in ("right", "left"))
        if right is not None and left is not None and source != "abdomenct1k":
            assert right[0] > left[0] + 30


def test_top_is_up_and_front_is_front(written):
    for labels in labels_of(written("word"), "word").values():
        liver, bladder, head = (centre(labels, value) for value in (1, 14, [15, 16]))
        aorta_side = centre(labels, [3, 4])  # kidneys, which lie behind the stomach
        assert liver[2] > bladder[2] + 100
        assert abs(bladder[2] - head[2]) < 100
        assert centre(labels, 5)[1] > aorta_side[1] + 20


def test_sources_draw_different_patients(written):
    btcv = next(iter(labels_of(written("btcv"), "btcv").values()))
    word = next(iter(labels_of(written("word"), "word").values()))
    volumes = [
        (np.asarray(labels.dataobj) == value).sum() * np.prod(labels.header.get_zooms())
        for labels, value in ((btcv, 6), (word, 1))
    ]
    assert volumes[0] != pytest.approx(volumes[1], rel=1e-3)


# What differs from source to source


def test_btcv_oddities(written, tmp_path):
    folder = written("btcv")
    names = [path.name for path in labels_of(folder, "btcv")]
    assert names[:2] == ["label0001.nii.gz", "label0002.nii.gz"]
    present = [4 in np.asarray(labels.dataobj) for labels in labels_of(folder, "btcv").values()]
    assert present.count(False) == 1
    assert (folder / "RawData/Testing/img/img0061.nii.gz").is_file()
    phantoms.load("btcv").write(tmp_path, 1, 3, tests="Test", **SMALL)
    assert (tmp_path / "RawData/Test/img/img0061.nii.gz").is_file()
    with pytest.raises(InputError, match="tests"):
        phantoms.load("btcv").write(tmp_path, 1, 3, tests="Tests", **SMALL)


def test_word_oddities(written):
    folder = written("word")
    for image, labels in pairs(folder, "word"):
        assert codes(image) == "LPS"
        for header in (image.header, labels.header):
            assert (header["qform_code"], header["sform_code"]) == (1, 0)
    kinds = [labels.get_data_dtype() for labels in labels_of(folder, "word").values()]
    assert kinds.count(np.uint16) == 1
    assert kinds.count(np.uint8) == CASES - 1
    about = json.loads((folder / "WORD-V0.1.0/dataset.json").read_text())
    counts = [len(about[part]) for part in ("training", "validation", "test")]
    assert counts == [CASES - 2, 1, 1]
    for entry in about["validation"] + about["test"]:
        assert (folder / "WORD-V0.1.0" / entry["label"]).is_file()


def test_amos_oddities(written):
    folder = written("amos22")
    for path, labels in labels_of(folder, "amos22").items():
        magnetic = int(path.name[5:9]) > 500
        image = nib.load(str(path).replace("/labels", "/images"))
        voxels = np.asarray(image.dataobj)
        assert (voxels.min() < -900) != magnetic
        assert voxels.max() <= 1500 or not magnetic
        assert bool(set(np.unique(labels.dataobj)) & {14, 15}) != magnetic
    numbers = [int(path.name[5:9]) for path in labels_of(folder, "amos22")]
    assert sorted(numbers) == [1, 2, 4, 5, 507, 508]
    kinds = {nib.load(path).get_data_dtype().name for path in folder.glob("amos22/images*/*")}
    assert kinds == {"int16", "uint16"}
    assert any(path.name.startswith("._") for path in folder.glob("__MACOSX/**/*"))
    about = json.loads((folder / "amos22/dataset.json").read_text())
    assert [len(about[part]) for part in ("training", "validation", "test")] == [5, 1, 1]
    assert about["labels"]["10"] == "pancreas"
    assert not (folder / "amos22/labelsTs").exists()


def test_flare_names(written):
    names = [path.name for path in sorted((written("flare22") / "FLARE22Train/images").iterdir())]
    assert names[0] == "FLARE22_Tr_0001_0000.nii.gz"
    assert len(names) == CASES


def test_abdomenct1k_oddities(written):
    folder = written("abdomenct1k")
    images = sorted(path.name for path in folder.glob("AbdomenCT-1K-ImagePart*/*"))
    numbers = " ".join(name[5:10] for name in images)
    assert numbers == "00001 00002 00401 00402 00801 00802 00955"
    assert len(list((folder / "Mask").iterdir())) == CASES
    affines = [image.affine[:3, :3] for image, _ in pairs(folder, "abdomenct1k")]
    unit = [affine / np.linalg.norm(affine, axis=0) for affine in affines]
    skew = [np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4 for axes in unit]
    assert skew.count(True) == 1
    assert len({codes(image) for image, _ in pairs(folder, "abdomenct1k")}) >= 4


def test_abdomenct1k_false_spacing_only_if_broken(tmp_path, written):
    phantoms.load("abdomenct1k").write(tmp_path, 3, 3, broken=True, **SMALL)
    path = "Mask/Case_00801.nii.gz"
    assert nib.load(tmp_path / path).header.get_zooms() == (1, 1, 1)
    assert min(nib.load(written("abdomenct1k") / path).header.get_zooms()) > 2


def test_lits_oddities(written):
    folder = written("lits")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("volume-*.nii"))
    batches = "media/nas/01_Datasets/CT/LITS/Training Batch"
    assert names[0] == f"{batches} 1/volume-0.nii"
    assert names[-1] == f"{batches} 2/volume-50.nii"
    seen = [codes(labels) for labels in labels_of(folder, "lits").values()]
    assert any(code.endswith("I") for code in seen)
    assert len(set(seen)) >= 3
    tumour = [2 in np.asarray(labels.dataobj) for labels in labels_of(folder, "lits").values()]
    assert tumour.count(False) == 1
    assert (folder / "LITS-Challenge-Test-Data/test-volume-0.nii").is_file()


def test_lits_false_geometry_only_if_broken(tmp_path):
    phantoms.load("lits").write(tmp_path, 2, 3, broken=True, tree="torrent", **SMALL)
    for name in ("volume", "segmentation"):
        np.testing.assert_array_equal(nib.load(tmp_path / f"{name}-28.nii").affine, np.eye(4))
        assert nib.load(tmp_path / f"{name}-0.nii").affine[0, 0] > 2


def test_kits_geometry_and_headers(written):
    folder, forms = written("kits19"), []
    for image, labels in pairs(folder, "kits19"):
        assert codes(labels) == "IPL"
        assert image.get_data_dtype() == np.float32
        header = labels.header
        form = tuple(int(header[key]) for key in ("qform_code", "sform_code"))
        forms.append((*form, header.get_data_dtype().name))
        assert set(np.unique(labels.dataobj)) == {0, 1, 2}
    assert forms.count((1, 0, "uint16")) == 2
    assert forms.count((0, 1, "uint8")) == CASES - 2
    planes = [labels.shape for labels in labels_of(folder, "kits19").values()]
    assert planes.count((24, 64, 64)) == CASES - 1
    assert planes.count((24, 53, 80)) == 1
    about = json.loads((folder / "data/kits.json").read_text())
    assert [entry["case_id"] for entry in about] == [f"case_{i:05d}" for i in range(CASES)]
    assert [path.name for path in (folder / "data/case_00210").iterdir()] == ["imaging.nii.gz"]


def test_kits_affine_is_that_of_the_published_files(written):
    affine = nib.load(written("kits19") / "data/case_00000/segmentation.nii.gz").affine
    assert (affine[[0, 1, 2], [2, 1, 0]] < 0).all()
    assert np.count_nonzero(affine[:3, :3]) == 3


def test_msd_oddities(written, tmp_path):
    task = written("msd") / "Task09_Spleen"
    about = json.loads((task / "dataset.json").read_text())
    assert [entry["image"] for entry in about["training"][:3]] == [
        f"./imagesTr/spleen_{number}.nii.gz" for number in (2, 3, 5)
    ]
    assert about["labels"] == {"0": "background", "1": "spleen"}
    assert about["licence"]
    assert (about["numTraining"], about["numTest"]) == (CASES, 2)
    assert all((task / name).is_file() for name in about["test"])
    assert (task / "imagesTr/._spleen_2.nii.gz").read_bytes()[:4] == b"\0\5\x16\7"
    phantoms.load("msd").write(tmp_path, 2, 3, task="liver", **SMALL)
    liver = json.loads((tmp_path / "Task03_Liver/dataset.json").read_text())
    assert list(liver["labels"].values()) == ["background", "liver", "cancer"]
    with pytest.raises(InputError, match="task"):
        phantoms.load("msd").write(tmp_path, 1, 3, task="lung")


def test_only_the_urogram_has_contrast_in_the_bladder(written):
    for image, labels in pairs(written("urogram"), "urogram"):
        voxels, raw = np.asarray(image.dataobj), np.asarray(labels.dataobj)
        # Urine, that is without the wall, which is labelled too.
        assert 200 < np.percentile(voxels[raw == 3], 75) < 650
    for image, labels in pairs(written("word"), "word"):
        assert np.percentile(np.asarray(image.dataobj)[np.asarray(labels.dataobj) == 14], 75) < 100


# DICOM


def series(folder):
    """PatientID -> slices, from the feet up."""
    found = {}
    for path in sorted(folder.rglob("*.dcm")):
        slice_ = pydicom.dcmread(path)
        found.setdefault(slice_.PatientID, []).append(slice_)
    order = {key: sorted(v, key=lambda s: s.ImagePositionPatient[2]) for key, v in found.items()}
    return order


def test_nih_dicom_is_as_published(written):
    folder = written("nihpancreas")
    found = series(folder)
    assert list(found) == [f"PANCREAS_{i:04d}" for i in range(1, CASES + 1)]
    for slices in found.values():
        assert len(slices) == 40
        assert all(s.ImageOrientationPatient == [1, 0, 0, 0, -1, 0] for s in slices)
        assert len({s.SeriesInstanceUID for s in slices}) == 1
        assert [s.InstanceNumber for s in slices] == list(range(40, 0, -1))
        steps = np.diff([s.ImagePositionPatient[2] for s in slices])
        np.testing.assert_allclose(steps, float(slices[0].SliceThickness), rtol=1e-6)
    uids = [s.SOPInstanceUID for slices in found.values() for s in slices]
    assert len(set(uids)) == len(uids)
    (first,) = folder.glob("manifest-1599750808610/Pancreas-CT/PANCREAS_0001/*/*/1-001.dcm")
    assert pydicom.dcmread(first).InstanceNumber == 1


def test_nih_labels_lie_on_the_images(written):
    folder = written("nihpancreas")
    labels = {path.name[5:9]: image for path, image in labels_of(folder, "nihpancreas").items()}
    assert set(labels) == {f"{i:04d}" for i in (1, 2, 3, 4, 5, 6, 25)}
    for name, slices in series(folder).items():
        label = labels[name[-4:]]
        assert codes(label) == "LAI"
        raw = np.asarray(label.dataobj).transpose(2, 1, 0)[::-1]
        hu = np.stack([s.pixel_array * s.RescaleSlope + s.RescaleIntercept for s in slices])
        assert raw.shape == hu.shape
        assert 0 < hu[raw == 1].mean() < 150
        top, spacing = slices[-1], slices[0].PixelSpacing
        first = np.array(top.ImagePositionPatient, float) * [-1, -1, 1]
        np.testing.assert_allclose(label.affine[:3, 3], first, atol=1e-3)
        np.testing.assert_allclose(label.header.get_zooms()[:2], spacing, rtol=1e-5)
