"""The catalogue of data sets: what config/datasets says of each, and what it must not say."""

import difflib
import inspect
import itertools
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from piecemeal.dataset_specs import DatasetConfig
from piecemeal.datasets import layouts, phantoms
from piecemeal.errors import InputError
from piecemeal.layout_options import check_layout_options
from piecemeal.validation import load_model, validate

FOLDER = Path(__file__).resolve().parent.parent / "config"
DATASETS = {p.stem: load_model(p, DatasetConfig) for p in sorted(FOLDER.glob("datasets/*.yaml"))}

# What design and papers ask for.
EXPECTED = {
    *("acdc", "oai_thigh", "totalseg_v1", "totalseg_v201", "totalseg_small", "hanseg", "lits"),
    *("msd03", "msd04", "msd09", "kits19", "abdomenct1k", "amos22", "btcv", "flare22"),
    *("nihpancreas", "word", "openkbp", "urogram"),
    *("extremity_hip", "extremity_knee", "extremity_foot", "head_landmark"),
}

# Of these files nobody publishes a checksum: what the first download has is kept.
FIRST_USE = {
    ("lits", "Training_Batch1.zip"),
    ("lits", "Training_Batch2.zip"),
    ("kits19", "data/case_{number:05d}/imaging.nii.gz"),
    ("kits19", "data/case_{number:05d}/segmentation.nii.gz"),
    ("nihpancreas", "Pancreas-CT-20200910.tcia"),
    ("openkbp", "openkbp.zip"),
}

# Chen et al. (2024), figure 3b, and the raw value of each structure in each source.
SOURCES = ["amos22", "btcv", "flare22", "abdomenct1k", "word", "nihpancreas", "totalseg_v1"]
CHEN = """
    spleen                    1   1   3   3   2   -   spleen
    right kidney              2   2   2   2   4   -   kidney_right
    left kidney               3   3   13  2   3   -   kidney_left
    gallbladder               4   4   9   -   6   -   gallbladder
    esophagus                 5   5   10  -   7   -   esophagus
    liver                     6   6   1   1   1   -   liver
    stomach                   7   7   11  -   5   -   stomach
    aorta                     8   8   5   -   -   -   aorta
    inferior vena cava        9   9   6   -   -   -   inferior_vena_cava
    pancreas                  10  11  4   4   8   1   pancreas
    right adrenal gland       11  12  7   -   12  -   adrenal_gland_right
    left adrenal gland        12  13  8   -   12  -   adrenal_gland_left
    duodenum                  13  -   12  -   9   -   duodenum
    bladder                   14  -   -   -   14  -   urinary_bladder
    prostate or uterus        15  -   -   -   -   -   -
    portal and splenic vein   -   10  -   -   -   -   portal_vein_and_splenic_vein
"""
CHEN_ROWS = [re.split(r"\s{2,}", line.strip()) for line in CHEN.strip().splitlines()]

# Anand et al. (2024), table 2, with the structures that each label is made of.
LOBES = "left upper,left lower,right upper,right middle,right lower"
ANAND = {
    "totalseg_v1": [
        *(f"{side} gluteus {part}" for part in ("minimus", "maximus", "medius")
          for side in ("left", "right")),
        *(f"{side} {bone}" for bone in ("hip", "femur", "scapula", "humerus", "clavicula")
          for side in ("left", "right")),
        *("left kidney", "right kidney"),
        *("liver", "stomach", "spleen", "gallbladder"),
        *(f"{lobe} lung lobe" for lobe in LOBES.split(",")),
    ],
    "hanseg": [
        *("mandible", "left parotid", "right parotid"),
        *(f"{side} eye {part} segment" for part in ("anterior", "posterior")
          for side in ("left", "right")),
    ],
}  # fmt: skip


def test_no_data_set_is_missing():
    assert set(DATASETS) >= EXPECTED


@pytest.mark.parametrize("name", DATASETS)
def test_layout_and_phantom_exist_and_take_the_options(name):
    config = DATASETS[name]
    layouts.load(config.layout)
    module = f"piecemeal.datasets.layouts.{config.layout}"
    check_layout_options(module, config.layout_options, Path(f"{name}.yaml"))
    if config.phantom:
        write = inspect.signature(phantoms.load(config.phantom.writer).write)
        write.bind(Path(), 1, 0, **config.phantom.options)


def test_every_archive_has_a_published_sum_or_is_known_to_have_none():
    without = {
        (name, archive.name)
        for name, config in DATASETS.items()
        if name in EXPECTED
        for archive in config.archives
        if not archive.sha256 and not archive.md5
    }
    assert without == FIRST_USE


def test_no_sum_and_no_address_is_that_of_another_archive():
    archives = [archive for config in DATASETS.values() for archive in config.archives]
    for facts in (
        [archive.sha256 for archive in archives],
        [archive.md5 for archive in archives],
        [archive.bytes for archive in archives],
        [url for archive in archives for url in archive.urls],
    ):
        assert max(Counter(fact for fact in facts if fact).values()) == 1


def test_addresses_are_encrypted():
    for name, config in DATASETS.items():
        for url in (url for archive in config.archives for url in archive.urls):
            assert url.startswith("https://"), (name, url)


@pytest.mark.parametrize("name", DATASETS)
def test_how_a_data_set_is_obtained_is_said(name):
    config = DATASETS[name]
    if config.access == "open":
        assert all(archive.urls for archive in config.archives)
    elif config.access == "phantom only":
        assert config.redistribution == "forbidden"
    elif config.access != "own":
        assert any(archive.by_hand for archive in config.archives)
    if config.access not in ("phantom only", "own"):
        assert config.homepage


@pytest.mark.parametrize("name", DATASETS)
def test_only_what_an_open_licence_allows_is_passed_on(name):
    config = DATASETS[name]
    open_licence = re.fullmatch(r"CC BY(-NC)?(-SA)? \d\.\d|MIT", config.licence)
    assert config.licence.strip()
    assert config.citation.strip()
    if config.redistribution == "allowed":
        assert open_licence
    if "-ND" in config.licence or config.licence == "private":
        assert config.redistribution == "forbidden"


def test_no_password_stands_in_the_catalogue():
    secret = [a.password_from for c in DATASETS.values() for a in c.archives if a.password_from]
    assert secret == ["WORD_PASSWORD"]
    assert "uestc" not in (FOLDER / "datasets" / "word.yaml").read_text()


# These are not meant as the same.
DIFFERENT = [("bladder", "gallbladder")]


def nearly(one: str, other: str) -> bool:
    """Whether two names are likely to be meant as the same one."""
    words = [re.split(r"[\s_-]+", name.lower()) for name in (one, other)]
    if "".join(words[0]) == "".join(words[1]):
        return True
    first, second = (
        sorted(word.removesuffix("s") if len(word) > 1 else word for word in of_name)
        for of_name in words
    )
    if first == second:
        return True
    differing = [(a, b) for a, b in zip(first, second, strict=False) if a != b]
    if len(first) != len(second) or len(differing) != 1:
        return False
    (a, b), *_ = differing
    return min(len(a), len(b)) > 3 and difflib.SequenceMatcher(None, a, b).ratio() > 0.75


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("right kidney", "kidney right", True),
        ("oesophagus", "esophagus", True),
        ("left clavicle", "left clavicula", True),
        ("adrenal gland", "adrenal glands", True),
        ("spinalcord", "spinal cord", True),
        ("left kidney", "right kidney", False),
        ("esophagus", "esophagus s", False),
        ("left upper lung lobe", "left lower lung lobe", False),
        ("hippocampus anterior", "hippocampus posterior", False),
        ("left gluteus maximus", "left gluteus minimus", False),
        ("right femur", "right humerus", False),
    ],
)
def test_what_counts_as_another_spelling(one, other, expected):
    assert nearly(one, other) is expected


def test_every_structure_has_one_spelling():
    names = {
        structure
        for config in DATASETS.values()
        for structure in (*config.labels.values(), *config.structures)
    }
    assert {name.strip().lower() for name in names} == names
    alike = [pair for pair in itertools.combinations(sorted(names), 2) if nearly(*pair)]
    assert alike == DIFFERENT


@pytest.mark.parametrize(("column", "source"), list(enumerate(SOURCES, start=1)))
def test_a_source_labels_the_structures_of_chen_2024_that_it_has(column, source):
    config = DATASETS[source]
    raw = {name: str(value) for value, name in config.labels.items()}
    raw |= {side: raw[merged] for merged, both in config.sides.items() for side in both}
    for structure, *values in CHEN_ROWS:
        assert raw.get(structure, "-") == values[column - 1], structure


def test_every_structure_of_chen_2024_is_in_some_source():
    assert len(CHEN_ROWS) == 16
    labelled = {name for source in SOURCES for name in DATASETS[source].structures}
    assert {row[0] for row in CHEN_ROWS} <= labelled
    assert set(DATASETS["urogram"].structures) == {"right kidney", "left kidney", "bladder"}


@pytest.mark.parametrize("dataset", ["totalseg_v1", "totalseg_v201", "totalseg_small", "hanseg"])
def test_the_parts_of_the_labels_of_anand_2024_are_there(dataset):
    wanted = ANAND["hanseg" if dataset == "hanseg" else "totalseg_v1"]
    assert set(wanted) <= set(DATASETS[dataset].structures)


def test_versions_of_totalsegmentator_write_their_masks_in_the_same_order():
    first, *others = (
        [stem for stem in DATASETS[name].labels if stem != "prostate"]
        for name in ("totalseg_v1", "totalseg_v201", "totalseg_small")
    )
    assert others == [first, first]
    assert "prostate" not in DATASETS["totalseg_v1"].labels


@pytest.mark.parametrize(
    ("number", "modality"),
    [(1, "CT"), (410, "CT"), (500, "CT"), (501, "MR"), (600, "MR")],
)
def test_amos_is_mr_above_500(number, modality):
    expression = DATASETS["amos22"].other_modality["MR"]
    assert bool(re.search(expression, f"amos_{number:04d}")) == (modality == "MR")


@pytest.mark.parametrize(
    ("dataset", "path", "case"),
    [
        ("lits", "media/nas/Training Batch 1/volume-0.nii", "volume-0"),
        ("kits19", "data/case_00209/imaging.nii.gz", "case_00209"),
        ("abdomenct1k", "AbdomenCT-1K-ImagePart1/Case_00001_0000.nii.gz", "Case_00001"),
        ("amos22", "amos22/imagesTr/amos_0001.nii.gz", "amos_0001"),
        ("btcv", "RawData/Training/img/img0001.nii.gz", "img0001"),
        ("flare22", "FLARE22Train/images/FLARE22_Tr_0001_0000.nii.gz", "FLARE22_Tr_0001"),
        ("word", "WORD-V0.1.0/imagesTr/word_0002.nii.gz", "word_0002"),
    ],
)
def test_names_of_published_files_are_understood(dataset, path, case, tmp_path):
    config = DATASETS[dataset]
    labels = {
        "lits": "media/nas/Training Batch 1/segmentation-0.nii",
        "kits19": "data/case_00209/segmentation.nii.gz",
        "abdomenct1k": "Mask/Case_00001.nii.gz",
        "amos22": "amos22/labelsTr/amos_0001.nii.gz",
        "btcv": "RawData/Training/label/label0001.nii.gz",
        "flare22": "FLARE22Train/labels/FLARE22_Tr_0001.nii.gz",
        "word": "WORD-V0.1.0/labelsTr/word_0002.nii.gz",
    }[dataset]
    for name in (path, labels):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (found,) = layouts.load(config.layout).find_cases(tmp_path, **config.layout_options)
    assert found.case == case
    assert found.image == tmp_path / path
    assert found.labels == tmp_path / labels


def find(dataset: str, root: Path, *names: str) -> tuple[list[str], list[str]]:
    """Cases and bad cases of a data set that has only these files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    bad, config = [], DATASETS[dataset]
    cases = layouts.load(config.layout).find_cases(root, bad, **config.layout_options)
    return [one.case for one in cases], [one.case for one in bad]


def test_a_case_of_kits19_with_one_file_is_bad_and_one_of_its_test_no_case(tmp_path):
    files = [f"data/case_00{number}/imaging.nii.gz" for number in (208, 209, 210, 299)]
    files += [f"data/case_00{number}/segmentation.nii.gz" for number in (199, 209)]
    assert find("kits19", tmp_path, *files) == (
        ["case_00209"],
        ["case_00208", "case_00199"],
    )


@pytest.mark.parametrize("dataset", ["amos22", "btcv", "flare22", "lits"])
def test_a_file_of_labels_that_is_missing_is_told(dataset, tmp_path):
    path, case = {
        "lits": ("Training Batch 1/volume-0.nii", "volume-0"),
        "amos22": ("amos22/imagesVa/amos_0008.nii.gz", "amos_0008"),
        "btcv": ("RawData/Training/img/img0001.nii.gz", "img0001"),
        "flare22": ("FLARE22Train/images/FLARE22_Tr_0001_0000.nii.gz", "FLARE22_Tr_0001"),
    }[dataset]
    assert find(dataset, tmp_path, path) == ([], [case])


def test_images_that_their_publisher_left_without_labels_are_passed_over(tmp_path):
    name = "AbdomenCT-1K-ImagePart1/Case_00010_0000.nii.gz"
    assert find("abdomenct1k", tmp_path / "a", name) == ([], [])
    assert find("word", tmp_path / "w", "WORD-V0.1.0/imagesTs/word_0014.nii.gz") == ([], [])


def test_only_version_1_of_totalsegmentator_may_lack_masks():
    options = {name: DATASETS[name].layout_options for name in DATASETS if "totalseg" in name}
    assert options == {
        "totalseg_v1": {},
        "totalseg_v201": {"complete": True},
        "totalseg_small": {"complete": True},
    }


def test_only_acdc_is_packed_by_its_server():
    names = [name for name, c in DATASETS.items() for archive in c.archives if archive.repacked]
    assert names == ["acdc"]


@pytest.mark.parametrize(
    "path", [p for p in sorted(FOLDER.rglob("*")) if p.suffix], ids=lambda p: p.name
)
def test_no_number_of_ten_digits_which_may_be_a_patient_id_is_there(path):
    text = re.sub(r"^ *bytes: \d+$", "", path.read_text(), flags=re.MULTILINE)
    assert re.findall(r"(?<![0-9a-f])\d{10}(?![0-9a-f])", text) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sides": {"lung": ["right lung", "left lung"]}}, r"\['lung'\] are not structures"),
        ({"side_check": [["liver", "heart"]]}, r"\['heart'\] are not among"),
        ({"labels": {1: "liver", "spleen": "spleen"}}, "either raw values"),
        ({"access": "phantom only"}, "unless access is 'phantom only'"),
        ({"archives": []}, "unless access is 'phantom only'"),
        ({"archives": [{"name": "a.zip", "unpack": "zip"}]}, "give `urls`"),
        (
            {"archives": [{"name": "a", "unpack": "no", "by_hand": "there", "md5": 32 * "0"}]},
            "`sum_from` must say",
        ),
        (
            {"archives": [{"name": "a", "unpack": "no", "by_hand": "there", "repacked": True}]},
            "`repacked` takes a checksum",
        ),
        (
            {"archives": [{"name": "a{number}", "unpack": "no", "by_hand": "there"}]},
            "go together",
        ),
        (
            {"archives": [{"name": "a", "unpack": "tcia", "by_hand": "there"}]},
            "`series_url` belongs",
        ),
    ],
)
def test_a_data_set_that_contradicts_itself_is_refused(change, message):
    content = yaml.safe_load((FOLDER / "datasets" / "abdomenct1k.yaml").read_text())
    with pytest.raises(InputError, match=message):
        validate(content | change, DatasetConfig, "config/datasets/some.yaml")


def test_structures_are_those_left_when_sides_are_split():
    assert DATASETS["abdomenct1k"].structures == [
        *("liver", "right kidney", "left kidney", "spleen", "pancreas")
    ]
