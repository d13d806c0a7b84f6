"""What may be said of augmentation in a method's file."""

import json

import pytest
from pydantic import BaseModel

from piecemeal.augmentation_specs import AugmentationConfig
from piecemeal.errors import InputError
from piecemeal.training.augmentation import Augmentation
from piecemeal.training.augmentation.draws import OPERATIONS
from piecemeal.validation import validate

FULL = {
    "flip": {"z": 0.5, "y": 0.5, "x": 0.5},
    "rot90": {"probability": 0.75},
    "rotation": {"probability": 0.2, "degrees": [-15, 15], "tilt_degrees": [-5, 5], "about": "z"},
    "scaling": {"probability": 0.2, "factor": [0.7, 1.4], "through_plane": True, "about": "y"},
    "noise": {"probability": 0.1, "sigma": [0, 0.1]},
    "blur": {"probability": 0.2, "sigma": [0.5, 1]},
    "brightness": {"probability": 0.15, "factor": [0.75, 1.25], "shift": [-0.1, 0.1]},
    "contrast": {"probability": 0.15, "factor": [0.75, 1.25]},
    "low_resolution": {"probability": 0.2, "factor": [0.5, 1]},
    "gamma": {"probability": 0.3, "exponent": [0.7, 1.5]},
    "cutmix": {"probability": 0.5},
}


def models(model: type[BaseModel]) -> list[type[BaseModel]]:
    inner = [t for f in model.model_fields.values() for t in getattr(f.annotation, "__args__", ())]
    return [model, *(t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))]


def test_nothing_said_is_nothing_done():
    assert set(AugmentationConfig().model_dump().values()) == {None}


def test_what_is_said_reaches_training():
    config = validate(FULL, AugmentationConfig, "method.yaml")
    settings = json.loads(json.dumps(config.model_dump()))
    assert Augmentation(settings, 0).settings == settings


def test_every_operation_has_its_stream():
    assert set(AugmentationConfig.model_fields) == set(OPERATIONS) - {"partners"}


@pytest.mark.parametrize("model", models(AugmentationConfig), ids=lambda m: m.__name__)
def test_every_field_says_what_it_is(model):
    assert all(field.description for field in model.model_fields.values())
    assert model.__doc__


@pytest.mark.parametrize(
    ("operation", "options", "key"),
    [
        ("flip", {"y": 1.5}, "flip.y"),
        ("rot90", {"probability": -0.1}, "rot90.probability"),
        ("rotation", {"degrees": [15, -15]}, "rotation.degrees"),
        ("rotation", {"degrees": [0, float("nan")]}, "rotation.degrees.1"),
        ("rotation", {"about": "w"}, "rotation.about"),
        ("scaling", {"factor": [0, 1]}, "scaling.factor.0"),
        ("noise", {"sigma": [-1, 1]}, "noise.sigma.0"),
        ("blur", {"sigma": [0, 1]}, "blur.sigma.0"),
        ("contrast", {"factor": [1]}, "contrast.factor"),
        ("low_resolution", {"factor": [0, 1]}, "low_resolution.factor.0"),
        ("low_resolution", {"factor": [0.5, 1.1]}, "low_resolution.factor.1"),
        ("gamma", {"exponent": [0, 1]}, "gamma.exponent.0"),
        ("cutmix", {"alpha": 0}, "cutmix.alpha"),
    ],
)
def test_impossible_values_are_refused_by_name(operation, options, key):
    changed = FULL | {operation: FULL[operation] | options}
    with pytest.raises(InputError, match=rf"method\.yaml: key '{key}"):
        validate(changed, AugmentationConfig, "method.yaml")


def test_a_misspelt_operation_is_refused():
    with pytest.raises(InputError, match="did you mean 'rotation'"):
        validate({"rotatoin": FULL["rotation"]}, AugmentationConfig, "method.yaml")
