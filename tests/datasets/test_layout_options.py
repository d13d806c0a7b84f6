"""What layouts are told, checked without an import of the layout and without data."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from piecemeal import layout_types
from piecemeal.datasets import layouts
from piecemeal.errors import InputError
from piecemeal.layout_options import check_layout_options, options_model
from piecemeal.registry import known

WHERE = Path("config/datasets/livers.yaml")
PAIRS = {"images": ["images/*.nii.gz"], "labels": ["labels/{case}.nii.gz"], "case": r"(L\d+)"}


def refusal(layout: str, options: dict) -> list[str]:
    """Lines of the message, without the name of the file."""
    with pytest.raises(InputError) as caught:
        check_layout_options(f"piecemeal.datasets.layouts.{layout}", options, WHERE)
    lines = str(caught.value).split("\n")
    assert all(line.startswith(f"{WHERE}: ") for line in lines)
    return [line.removeprefix(f"{WHERE}: ") for line in lines]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"unlabelled": "keep", "orphans": "bad"},
        {"splits": {"imagesTr": "train", "imagesVa": "validation"}},
        {"labels": ["a/{number}.nii", "b/**/{case}.nii.gz"]},
    ],
)
def test_what_a_layout_takes(more):
    check_layout_options("piecemeal.datasets.layouts.nifti_pairs", PAIRS | more, WHERE)


def test_a_misspelt_key_is_named_with_the_right_one():
    options = {("image" if key == "images" else key): value for key, value in PAIRS.items()}
    assert refusal("nifti_pairs", options) == [
        "key 'layout_options.images': Field required",
        "key 'layout_options.image': unknown key (did you mean 'images'?); allowed: case, empty, "
        "images, labels, orphans, splits, unlabelled",
    ]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"images": "images/*.nii.gz"},
            "images': Input should be a valid list, got 'images/*.nii.gz'",
        ),
        ({"images": []}, "images': List should have at least 1 item after validation, not 0"),
        ({"case": 7}, "case': Input should be a valid string, got 7"),
        (
            {"case": r"L\d+"},
            "case': Value error, expected a regular expression with one group, has 0; what is in "
            r"the group tells cases apart, as in `amos_(\d{4})`, got 'L\\d+'",
        ),
        ({"case": "(L)(1)"}, "case': Value error, expected a regular expression with one group"),
        (
            {"case": "(L"},
            "case': Value error, expected a regular expression (missing ), unterminated "
            "subpattern at position 0), got '(L'",
        ),
        (
            {"labels": ["{case}.nii", "labels/*.nii"]},
            "labels.1': Value error, expected a pattern with {case} or {number}, as in "
            "`labels/{case}.nii.gz`, got 'labels/*.nii'",
        ),
        ({"unlabelled": "drop"}, "unlabelled': Input should be 'bad', 'skip' or 'keep', got 'drop"),
        ({"orphans": "keep"}, "orphans': Input should be 'ignore' or 'bad', got 'keep'"),
        (
            {"splits": {"imagesTr": "training"}},
            "splits.imagesTr': Input should be 'train', 'validation' or 'test', got 'training'",
        ),
    ],
)
def test_a_value_that_makes_no_sense(option, message):
    (line,) = refusal("nifti_pairs", PAIRS | option)
    assert line.startswith(f"key 'layout_options.{message}")


def test_text_is_no_boolean():
    """`complete: "false"` would be true for the layout, as any text is."""
    (line,) = refusal("totalsegmentator", {"complete": "false"})
    assert line == ("key 'layout_options.complete': Input should be a valid boolean, got 'false'")


def test_a_layout_without_options_takes_none():
    assert refusal("acdc", {"images": ["*.nii"]}) == [
        "key 'layout_options': the layout 'acdc' takes none, got ['images']; delete them"
    ]
    check_layout_options("piecemeal.datasets.layouts.acdc", {}, WHERE)


@pytest.mark.parametrize("name", known("piecemeal.datasets.layouts"))
def test_the_text_says_what_the_signature_says(name):
    """Names and defaults as Python itself reads them, and types that a plan knows."""
    _, _, *options = inspect.signature(layouts.load(name).find_cases).parameters.values()
    fields = options_model(f"piecemeal.datasets.layouts.{name}").model_fields
    required = {one.name: one.default is inspect.Parameter.empty for one in options}
    assert {key: field.is_required() for key, field in fields.items()} == required
    assert Any not in [field.annotation for field in fields.values()]


@pytest.fixture
def own_layout(tmp_path, monkeypatch):
    """Writes a layout with this signature, which nothing may import; its module."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, signature: str) -> str:
        text = f"{signature}\n    raise SystemExit\nraise SystemExit\n"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def test_options_of_a_layout_of_ones_own(own_layout):
    signature = "def find_cases(root, bad=None, suffix='.nii', *, table: np.ndarray, size: int):"
    fields = options_model(own_layout("tables", signature)).model_fields
    assert {key: field.is_required() for key, field in fields.items()} == {
        "suffix": False,
        "table": True,
        "size": True,
    }
    kinds = [field.annotation for field in fields.values()]
    assert kinds == [Any, Any, int]  # what only the layout can tell is not looked at


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("with_any", "def find_cases(root, bad=None, **options):"),
        ("from_elsewhere", "def find_all(root, bad=None):"),
    ],
)
def test_a_layout_that_does_not_say_takes_any(own_layout, name, signature):
    check_layout_options(own_layout(name, signature), {"suffix": ".nii"}, WHERE)


def test_types_have_names_for_the_signatures():
    assert set(layout_types.__all__) <= set(vars(layout_types))


def test_no_reader_is_imported_for_it():
    """`piecemeal plan` and every start of Snakemake would wait for them."""
    code = (
        "import sys; from piecemeal.plan import Planner\n"
        "Planner().plan('demo')\n"
        "assert not {'torch', 'nibabel', 'nrrd', 'pydicom', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
