import re
from pathlib import Path

import pytest
import yaml

from piecemeal import (
    annotation_specs,
    augmentation_specs,
    cohort_specs,
    config,
    dataset_specs,
    papers,
    recipes,
    registry,
    training_specs,
)
from piecemeal.claim_specs import load_claims
from piecemeal.cohort_specs import CohortConfig
from piecemeal.config import MainConfig, ScaleConfig
from piecemeal.dataset_specs import DatasetConfig
from piecemeal.errors import InputError
from piecemeal.training_specs import MethodConfig, TrainingConfig
from piecemeal.validation import Strict, load_model, load_yaml, validate

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "config"
MODELS = {
    "scales": ScaleConfig,
    "datasets": DatasetConfig,
    "cohorts": CohortConfig,
    "methods": MethodConfig,
}
# local.yaml belongs to one machine; it is read on top of config.yaml and tested with the plan. The
# site is tested by itself.
OF_MACHINES = ("local.yaml", "site.yaml", "site.example.yaml")
FILES = sorted(p.relative_to(FOLDER) for p in FOLDER.rglob("*.yaml") if p.name not in OF_MACHINES)


def named(kind: str) -> dict[str, object]:
    return {p.stem: load_model(p, MODELS[kind]) for p in sorted((FOLDER / kind).glob("*.yaml"))}


@pytest.fixture
def method() -> dict:
    return {
        "title": "SLAC",
        "implementation": "slac",
        "network": {"name": "baumgartner_unet"},
        "optimiser": {"name": "adam", "learning_rate": 0.01},
        "batch_size": 10,
    }


@pytest.fixture
def cohort() -> dict:
    return yaml.safe_load((FOLDER / "cohorts" / "cardiac.yaml").read_text())


def refused(content, model, *parts: str) -> str:
    with pytest.raises(InputError) as caught:
        validate(content, model, "config/some.yaml")
    message = str(caught.value)
    for part in ("config/some.yaml", *parts):
        assert part in message
    return message


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_of_the_configuration_loads(file):
    path = FOLDER / file
    if file.parts[0] == "papers":
        papers.load_paper(path.parent)
        if file.name == "claims.yaml":
            published = [t.published for t in papers.load_paper(path.parent).tables]
            assert load_claims(path) or not any(published)
        assert file.stem in {"paper", "recipes", "tables", "figures", "claims"}
    else:
        load_model(path, MainConfig if file == Path("config.yaml") else MODELS[file.parts[0]])


def test_every_method_of_the_configuration_exists():
    for name, method in named("methods").items():
        assert method.implementation in registry.known("piecemeal.methods"), name
        if method.network:
            assert method.network.name in registry.known("piecemeal.networks"), name


def test_every_layout_of_the_configuration_exists():
    for name, dataset in named("datasets").items():
        assert dataset.layout in registry.known("piecemeal.datasets.layouts"), name


def test_scales_name_things_that_exist():
    cohorts, datasets = named("cohorts"), named("datasets")
    for name, scale in named("scales").items():
        assert scale.cohorts.keys() <= cohorts.keys(), name
        assert scale.sources.keys() <= datasets.keys(), name
        assert scale.networks.keys() <= set(registry.known("piecemeal.networks")), name
        needed = {d for cohort in scale.cohorts for d in cohorts[cohort].datasets}
        assert needed <= scale.sources.keys(), name


def test_cohorts_name_data_sets_that_have_their_structures():
    datasets = named("datasets")
    for name, cohort in named("cohorts").items():
        drawn = {s for d in cohort.datasets for s in datasets[d].structures}
        assert {part for parts in cohort.parts().values() for part in parts} <= drawn, name


def test_a_private_data_set_comes_as_a_phantom_only():
    datasets = named("datasets")
    for name, scale in named("scales").items():
        for dataset, source in scale.sources.items():
            if datasets[dataset].access == "phantom only":
                assert source.kind == "phantom", name


def test_unknown_key_names_the_allowed_ones_and_the_nearest(method):
    message = refused(method | {"batchsize": 4}, MethodConfig, "key 'batchsize': unknown key")
    assert "did you mean 'batch_size'?" in message
    assert "allowed: augmentation, batch_size, citation, implementation" in message


def test_unknown_nested_key_names_the_keys_of_its_level(method):
    method["optimiser"]["momentum"] = 0.9
    message = refused(method, MethodConfig, "key 'optimiser.momentum'")
    assert "allowed: clip_norm, decay, learning_rate, name, warmup_factor" in message
    assert "batch_size" not in message
    assert "nesterov" not in message  # a key of another optimiser


def test_unknown_key_below_a_dictionary(cohort):
    cohort["annotations"]["complete"]["half3"] = None
    message = refused(cohort, CohortConfig, "key 'annotations.complete.half3'")
    assert "allowed: datasets, dealt, description, half1, half2" in message


def test_patients_are_dealt_out_or_come_in_halves(cohort):
    annotation = cohort["annotations"]["complete"]
    hands = {"all": {"kind": "complete"}, "none": {"kind": "unlabelled"}}
    both = annotation | {"dealt": {"seed": 1, "hands": hands}}
    refused(cohort | {"annotations": {"complete": both}}, CohortConfig, "half1", "dealt")
    del both["half1"], both["half2"]
    validate(cohort | {"annotations": {"complete": both}}, CohortConfig, "cohort.yaml")
    del both["dealt"]
    refused(cohort | {"annotations": {"complete": both}}, CohortConfig, "half1", "dealt")


def test_wrong_type_names_what_was_given(method):
    refused(method | {"batch_size": "many"}, MethodConfig, "key 'batch_size'", "integer", "'many'")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("learning_rate", 0, "greater than 0"), ("warmup_factor", 2, "less than or equal to 1")],
)
def test_impossible_value_names_the_bound(method, key, value, expected):
    method["optimiser"][key] = value
    refused(method, MethodConfig, f"key 'optimiser.{key}'", expected)


def test_unknown_choice_names_the_choices(method):
    method["optimiser"]["name"] = "adagrad"
    refused(method, MethodConfig, "key 'optimiser'", "'adagrad'", "'adam'", "'sgd'")


def test_missing_key_is_named(method):
    del method["title"]
    refused(method, MethodConfig, "key 'title'", "required")


def test_all_mistakes_are_told_at_once(method):
    message = refused(method | {"batch_size": 0, "colour": "red"}, MethodConfig)
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize("part", ["network", "optimiser", "batch_size"])
def test_a_trained_method_needs_network_optimiser_and_batch_size(method, part):
    refused(method | {part: None}, MethodConfig, "give all three, or none")


def test_unknown_structure_in_an_annotation(cohort):
    cohort["annotations"]["half_merged"]["half2"]["merged"] = [["myocardium", "atrium"]]
    message = refused(cohort, CohortConfig, "'atrium'")
    assert "allowed: ['right ventricle', 'myocardium', 'left ventricle']" in message


def test_unknown_structure_in_a_partial_annotation(cohort):
    cohort["annotations"]["half"]["half1"] = {"kind": "partial", "annotated": ["atrium"]}
    refused(cohort, CohortConfig, "'atrium'")


def test_unknown_structure_in_the_scoring(cohort):
    cohort["scoring"]["largest_component"] = ["atrium"]
    refused(cohort, CohortConfig, "'atrium'")


RIGHT, MYOCARDIUM, LEFT = "right ventricle", "myocardium", "left ventricle"


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ({"right": [RIGHT], "left": [LEFT, "atrium"]}, "tasks: unknown structures ['atrium']"),
        ({"right": [RIGHT], "left": [LEFT]}, "tasks: ['myocardium'] must be in one task each"),
        (
            {"right": [RIGHT, MYOCARDIUM], "left": [MYOCARDIUM, LEFT]},
            "tasks: ['myocardium'] must be in one task each",
        ),
        ({"all": [RIGHT, RIGHT, MYOCARDIUM, LEFT]}, "tasks: ['right ventricle'] must be in one"),
        ({"right": [], "left": [RIGHT, MYOCARDIUM, LEFT]}, "key 'tasks.right'"),
        ({"Right": [RIGHT, MYOCARDIUM, LEFT]}, "key 'tasks.Right"),
    ],
)
def test_every_structure_is_in_one_task(cohort, tasks, said):
    refused(cohort | {"orientation": "canonical", "tasks": tasks}, CohortConfig, said)


def test_tasks_take_axial_slices(cohort):
    tasks = {"heart": [RIGHT, MYOCARDIUM, LEFT]}
    refused(cohort | {"tasks": tasks}, CohortConfig, "tasks: ", "`orientation: canonical`")
    validate(cohort | {"tasks": tasks, "orientation": "canonical"}, CohortConfig, "cohort.yaml")


def test_slices_between_tasks_take_tasks(cohort):
    refused(cohort | {"transition": {"margin": 1}}, CohortConfig, "transition: goes with `tasks`")
    with_tasks = cohort | {
        "orientation": "canonical",
        "tasks": {"heart": [RIGHT, MYOCARDIUM, LEFT]},
    }
    for wrong in ({"margin": -1}, {"least": 0}):
        key = next(iter(wrong))
        refused(with_tasks | {"transition": wrong}, CohortConfig, f"key 'transition.{key}'")


def test_counts_of_a_split_go_with_nothing_else(cohort):
    counts = {"train": 1, "validation": 1, "test": 1}
    for other in ({"official": True}, {"file": "anand2024"}):
        split = {"seed": 1, **counts, **other}
        refused(cohort | {"split": split}, CohortConfig, "give counts, or `file` and `official`")
    both = {"seed": 1, "official": True, "file": "anand2024", "validation_share": 0.1}
    validate(cohort | {"split": both}, CohortConfig, "cohort.yaml")


def test_unknown_kind_of_annotation(cohort):
    cohort["annotations"]["half"]["half1"] = {"kind": "scribbles"}
    refused(cohort, CohortConfig, "annotations.half.half1", "super_label", "scribbles")


SLICED = {"kind": "every_nth_slice", "step": 5, "view": "coronal"}


def test_slices_of_a_view_take_canonical_order(cohort):
    cohort["annotations"]["half"]["datasets"] = {"acdc": SLICED}
    refused(cohort, CohortConfig, "annotations.half: `every_nth_slice` takes `orientation: canon")
    config = validate(cohort | {"orientation": "canonical"}, CohortConfig, "cohort.yaml")
    (own,) = config.annotations["half"].datasets.values()
    assert (own.step, own.offset, own.view) == (5, 0, "coronal")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"datasets": {"word": SLICED}}, "annotations.half.datasets: unknown ['word']"),
        ({"sources": ["word"]}, "annotations.half.sources: unknown ['word']; allowed: ['acdc']"),
        ({"sources": []}, "annotations.half.sources"),
        ({"datasets": {"acdc": {"kind": "partial", "annotated": ["atrium"]}}}, "'atrium'"),
        ({"datasets": {"acdc": SLICED | {"offset": 5}}}, "expected less than step, 5"),
        ({"datasets": {"acdc": SLICED | {"view": "oblique"}}}, "view'"),
    ],
)
def test_a_data_set_of_an_annotation_that_is_impossible(cohort, change, said):
    cohort["annotations"]["half"] |= change
    refused(cohort | {"orientation": "canonical"}, CohortConfig, said)


def test_missing_file_lists_its_neighbours(tmp_path):
    (tmp_path / "slac.yaml").write_text("title: SLAC\n")
    path = tmp_path / "slak.yaml"
    with pytest.raises(InputError, match=rf"{re.escape(str(path))}: no such file.*\['slac'\]"):
        load_model(path, MethodConfig)


@pytest.mark.parametrize(
    "content",
    [b"title: [unclosed", b"\xff\xfe\x00", b"a: b: c", b"{case}: 1", b"? [a, b]\n: 1"],
)
def test_invalid_yaml_names_the_file(tmp_path, content):
    path = tmp_path / "slac.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{re.escape(str(path))}: cannot be read as YAML"):
        load_yaml(path)


def test_empty_file_is_refused_by_name(tmp_path):
    path = tmp_path / "slac.yaml"
    path.write_text("")
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_model(path, MethodConfig)


def test_yaml_cannot_run_code(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("title: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(InputError, match="cannot be read as YAML"):
        load_yaml(path)


def test_models_do_not_change(method):
    loaded = validate(method, MethodConfig, "x")
    with pytest.raises(ValueError, match="frozen"):
        loaded.batch_size = 3


def test_every_key_is_described():
    files = (annotation_specs, augmentation_specs, cohort_specs)
    files += (config, dataset_specs, recipes, training_specs)
    models = {m for file in files for m in vars(file).values() if isinstance(m, type)}
    models = [m for m in models if issubclass(m, Strict) and m is not Strict]
    undescribed = {
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not field.description
    }
    # What a name says by itself: tags, and models described at their own keys.
    allowed = {f"{m.__name__}.{tag}" for m in models for tag in ("kind", "name")}
    allowed |= {"CohortConfig.split", "CohortConfig.annotations", "CohortConfig.scoring"}
    allowed |= {"MethodConfig.inference", "CohortConfig.grid"}
    assert undescribed <= allowed


def a_method(**more) -> MethodConfig:
    """A trained method with the keys `more`."""
    optimiser = {"name": "adam", "learning_rate": 0.1, "decay": "cosine"}
    given = {"title": "one", "implementation": "slac", "network": {"name": "nets"}}
    return MethodConfig.model_validate(given | {"optimiser": optimiser} | more)


@pytest.mark.parametrize(
    ("batch_size", "sampler", "steps"),
    [
        (10, {"name": "epochs"}, 100),
        (6, {"name": "epochs"}, 167),
        (16, {"name": "alternating", "unlabelled": 0.5}, 125),
        (3, {"name": "alternating", "unlabelled": 0.5}, 500),  # two labelled rows, one not
    ],
)
def test_the_same_number_of_labelled_samples_for_methods_of_any_batch(batch_size, sampler, steps):
    training = TrainingConfig(samples=1000, validate_every=10)
    settings = training.plan(a_method(batch_size=batch_size, sampler=sampler))
    assert settings["steps"] == steps
    assert "samples" not in settings


@pytest.mark.parametrize(
    ("batch_size", "sampler"),
    [
        (10, {"name": "epochs"}),
        (6, {"name": "epochs"}),
        (16, {"name": "alternating", "unlabelled": 0.5}),
    ],
)
def test_methods_of_any_batch_are_validated_equally_often(batch_size, sampler):
    method = a_method(batch_size=batch_size, sampler=sampler)
    for samples, every in ((1200, 240), (960, 192), (840, 168)):
        training = TrainingConfig(samples=samples, validate_every=every)
        settings = training.plan(method)
        # As the loop does: at every so many steps, and at the last one.
        steps = {*range(0, settings["steps"] + 1, settings["validate_every"]), settings["steps"]}
        assert len(steps - {0}) == 5
        assert training.plan(method, longer=2.0)["validate_every"] == settings["validate_every"]
    often = TrainingConfig(samples=1200, validate_every=1)
    assert often.plan(method)["validate_every"] == 1


def test_a_length_in_steps_is_validated_by_steps():
    training = TrainingConfig(steps=1200, validate_every=240)
    assert training.plan(a_method(batch_size=10))["validate_every"] == 240


def test_the_decay_of_a_scale_stands_in_for_that_of_the_methods():
    method, length = a_method(batch_size=1), {"steps": 5, "validate_every": 1}
    assert TrainingConfig(**length).plan(method)["decay"] == {"kind": "cosine"}
    training = TrainingConfig(**length, decay={"kind": "warm_restarts", "restarts": 2})
    assert training.plan(method)["decay"] == {"kind": "warm_restarts", "restarts": 2}


def test_a_method_may_train_longer_than_the_others():
    training = TrainingConfig(samples=100, validate_every=1)
    assert training.plan(a_method(batch_size=10), longer=2.0)["steps"] == 20


def test_a_training_has_one_length_and_a_decay_that_exists():
    for content in (
        {"validate_every": 1},
        {"steps": 5, "samples": 5, "validate_every": 1},
        {"steps": 5, "validate_every": 1, "decay": "warm_restarts"},
        {"steps": 5, "validate_every": 1, "decay": {"kind": "cosine", "restarts": 2}},
        {"steps": 5, "validate_every": 1, "decay": "linear"},
    ):
        with pytest.raises(InputError):
            validate(content, TrainingConfig, "scale.yaml")


@pytest.mark.parametrize("kind", ["window", "percentiles"])
@pytest.mark.parametrize(("low", "high"), [(30, 30), (30, 20)])
def test_a_range_of_intensities_is_in_order(kind, low, high):
    content = load_yaml(FOLDER / "cohorts" / "liver.yaml")
    content["intensity"]["CT"] = {"kind": kind, "low": low, "high": high}
    with pytest.raises(InputError, match=f"intensity.CT.*low is {low} and high {high}"):
        validate(content, CohortConfig, "liver.yaml")


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3", "c: {a: 1, a: 2}", "- {1: x, 1: y}"])
def test_a_key_that_is_there_twice_is_refused(tmp_path, text):
    path = tmp_path / "some.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"some\.yaml: .*the key '[a1]' is there twice"):
        load_yaml(path)


def test_what_is_merged_may_be_merged_again_before_it_is_read_itself(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("b: &b {x: 1}\ntop: {a: &a {<<: *b, x: 2}}\nc: {<<: *a}")
    assert load_yaml(path) == {"b": {"x": 1}, "top": {"a": {"x": 2}}, "c": {"x": 2}}


def test_what_is_merged_may_be_replaced(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text("one: &one {a: 1, b: 2}\ntwo: {<<: *one, a: 3}")
    assert load_yaml(path)["two"] == {"a": 3, "b": 2}
