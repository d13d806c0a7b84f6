"""What a scale changes against the paper, in words that come from the configuration."""

from pathlib import Path

import pytest
import yaml

from piecemeal.plan import Planner
from piecemeal.publishing import parameters, shortened

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path):
    """`place(scale, change)`: a planner of the configuration with one cohort's scale changed."""

    def make(scale: str, cohort: str, **change):
        folder = tmp_path / "config"
        folder.mkdir()
        for path in (ROOT / "config").iterdir():
            if path.name not in ("scales", "local.yaml"):
                (folder / path.name).symlink_to(path)
        (folder / "scales").mkdir()
        content = yaml.safe_load((ROOT / "config/scales" / f"{scale}.yaml").read_text())
        content["cohorts"][cohort] |= change
        (folder / "scales" / f"{scale}.yaml").write_text(yaml.safe_dump(content))
        planner = Planner(folder.parent)
        return planner, planner.plan(scale)

    return make


SPLIT = {"seed": 1, "train": 2, "validation": 2, "test": 1}
SMALL = {"split": SPLIT, "grid": {"size": 32, "fit": True}, "seeds": [0]}


def test_a_smaller_plane_a_patch_and_a_narrower_network_are_said(place):
    planner, plan = place(
        "smoke", "liver_kidney_spleen", **SMALL, patch=[8, 32, 32], leave_out=["unimos"]
    )
    said = shortened.of_cohort(planner, plan, "liver_kidney_spleen")
    assert said[:2] == [
        "images of 32 x 32 instead of 256 x 256 pixels",
        "patches of 8 x 32 x 32 voxels",
    ]
    assert "network pipo_fan with width 2" in said
    assert not any("mirrored" in text for text in said)
    assert not any("cmu_unet" in text for text in said)  # of another cohort


def test_predictions_without_their_flips_are_said(place):
    planner, plan = place("smoke", "liver_kidney_spleen", mirrors=False)
    said = shortened.of_cohort(planner, plan, "liver_kidney_spleen")
    assert "DoDNet without mirrored passes" in said
    of_cohort = {k: u.settings for k, u in plan.scores.items() if k.startswith("liver_kidney")}
    of_dodnet = [settings for key, settings in of_cohort.items() if "/dodnet/" in key]
    assert [settings["inference"]["flips"] for settings in of_dodnet] == [[]]


def test_pixels_of_another_size_are_said(place):
    planner, plan = place("smoke", "cardiac")
    said = shortened.of_cohort(planner, plan, "cardiac")
    assert "images of 32 x 32 instead of 212 x 212 pixels" in said
    assert "voxels of 4 x 4 instead of 1.36719 x 1.36719 mm" in said


def test_at_the_scale_of_the_papers_only_what_is_written_down_differs(place):
    planner, plan = place("paper", "liver", shortened=["other scans"])
    assert shortened.of_cohort(planner, plan, "liver") == ["other scans"]


@pytest.mark.parametrize(
    ("training", "more", "words"),
    [
        ({"steps": 1200}, {}, "1,200 steps of every method"),
        ({"samples": 900}, {}, "900 labelled samples for every method"),
        (
            {"samples": 900, "decay": "cosine"},
            {"longer": {"pretrained_u_net": 2}},
            "900 labelled samples for every method, pre-trained U-Net 2 times as long, learning "
            "rate falling as cosine",
        ),
    ],
)
def test_how_long_runs_train(place, training, more, words):
    training = {"validate_every": 10} | training
    planner, plan = place("smoke", "liver", training=training, **more)
    assert shortened.training(planner, plan, "liver") == words


def test_a_cohort_without_training_says_nothing(place):
    planner, plan = place("smoke", "liver")
    assert shortened.training(planner, plan, "head_neck") == ""


def test_it_is_among_the_parameters_of_the_tables(place):
    planner, plan = place("smoke", "liver", training={"validate_every": 10, "samples": 900})
    about = parameters.table(planner, plan, "moseley2023", "table1")["cohorts"]["liver"]
    assert about["training"].startswith("900 labelled")
    assert about["shortened"] == shortened.of_cohort(planner, plan, "liver") != []


def test_arms_that_train_longer_or_shorter_and_another_optimiser_are_said(place):
    adam = {"name": "adam", "learning_rate": 0.003}
    training = {"samples": 900, "validate_every": 10, "optimiser": adam}
    left_out = ["individual", "individual-mirrored", "individual-augmented"]
    planner, plan = place("smoke", "anatomy", training=training, leave_out=left_out)
    said = shortened.training(planner, plan, "anatomy")
    assert said.startswith("900 labelled samples for every method, ")
    assert ", label-sharing-new 0.3 times as long, " in said
    assert said.endswith("optimised by adam at a learning rate of 0.003")
    assert "individual" not in said
    assert "mirrored" not in said  # these have the weights of others
