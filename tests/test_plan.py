import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from piecemeal import plan_data as planning
from piecemeal.errors import InputError
from piecemeal.plan import Plan, Planner, Unit
from piecemeal.plan_file import freeze, thaw
from piecemeal.publishing import shortened

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("raw", "prepared", "annotated", "runs", "scores")
SCALE = "smoke"


class Workplace:
    """A copy of the project's configuration, with one paper, that a test may change."""

    def __init__(self, root: Path):
        self.root = root
        shutil.copytree(ROOT / "config", root / "config", ignore=shutil.ignore_patterns("local.*"))
        self.change("config.yaml", lambda c: c.update(papers=["kemnitz2018"]))

    def change(self, file: str, change: Callable[[dict], None]) -> None:
        path = self.root / "config" / file
        content = yaml.safe_load(path.read_text()) if path.exists() else {}
        change(content)
        path.write_text(yaml.safe_dump(content))

    def plan(self, scale: str = SCALE, **overrides) -> Plan:
        return Planner(self.root, overrides).plan(scale)


@pytest.fixture
def place(tmp_path) -> Workplace:
    return Workplace(tmp_path)


def hashes(plan: Plan) -> dict[str, dict[str, str]]:
    """Stage -> what it is, without the hash -> hash."""
    return {
        stage: {key.rsplit("-", 1)[0]: unit.hash for key, unit in getattr(plan, stage).items()}
        for stage in STAGES
    }


def changed(before: Plan, after: Plan) -> dict[str, set[str]]:
    """Stage -> the things whose hash is another one; nothing may come or go."""
    old, new = hashes(before), hashes(after)
    assert {stage: set(units) for stage, units in old.items()} == {
        stage: set(units) for stage, units in new.items()
    }
    return {
        stage: {key for key in old[stage] if old[stage][key] != new[stage][key]} for stage in STAGES
    }


def of_cohort(keys, cohort: str) -> set[str]:
    return {key for key in keys if key.split("/")[0] == cohort}


def runs(place: Workplace, cohort: str) -> list[Unit]:
    return [run for run in place.plan().runs.values() if run.settings["cohort"] == cohort]


def refused(place: Workplace, *parts: str, scale: str = SCALE) -> None:
    with pytest.raises(InputError) as caught:
        place.plan(scale)
    for part in parts:
        assert part in str(caught.value)


def test_planning_needs_no_torch():
    code = (
        "import sys; from piecemeal.plan import Planner\n"
        f"Planner().plan('{SCALE}')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=os.environ)


def test_two_plans_are_equal(place):
    assert place.plan() == place.plan()


def test_every_arm_of_the_paper_has_its_run(place):
    plan = place.plan()
    arms = {(entry["arm"], entry["run"].split("/")[0]) for entry in plan.papers["kemnitz2018"]}
    wanted = {(run.arm, run.cohort) for run in Planner(place.root).paper("kemnitz2018").runs}
    assert arms == wanted
    assert {entry["run"] for entry in plan.papers["kemnitz2018"]} == plan.runs.keys()


def test_a_run_is_named_by_what_it_is_and_its_hash(place):
    for key, unit in place.plan().runs.items():
        s = unit.settings
        wanted = f"{s['cohort']}/{s['annotation']}/{s['method']}/seed{s['seed']}-{unit.hash}"
        assert key == wanted
        assert re.fullmatch("[0-9a-f]{10}", unit.hash)
        assert s["hash"] == unit.hash


def test_an_arm_on_a_cohort_that_there_is_not_is_refused(place):
    path = place.root / "config/papers/kemnitz2018/runs.tsv"
    head, *lines = path.read_text().splitlines()
    typo = lines[0].replace("thigh", "tigh").replace("cardiac", "cardic")
    path.write_text("\n".join([head, *lines, typo]) + "\n")
    tables = place.root / "config/papers/kemnitz2018/tables.yaml"
    assert tables.exists()
    refused(place, "kemnitz2018/runs.tsv", "expected one of config/cohorts", "'cardiac'")


def test_a_paper_needs_neither_figures_nor_claims(place):
    folder = place.root / "config/papers/kemnitz2018"
    (folder / "figures.yaml").unlink()
    (folder / "claims.yaml").unlink()
    assert Planner(place.root).paper("kemnitz2018").figures == []
    assert place.plan().runs


class TestOwnData:
    """A data set that its owner alone has: neither archives nor a phantom."""

    @pytest.fixture
    def own(self, place) -> Workplace:
        def private(content):
            for key in ("archives", "phantom", "homepage"):
                content.pop(key, None)
            content |= {"access": "own", "redistribution": "forbidden"}

        place.change("datasets/acdc.yaml", private)
        return place

    def test_it_is_read_from_its_folder(self, own, tmp_path):
        own.change(f"scales/{SCALE}.yaml", lambda c: c["sources"].update(acdc={"kind": "local"}))
        own.change("local.yaml", lambda c: c.update(local={"acdc": str(tmp_path)}))
        assert own.plan().raw["acdc"].settings["path"] == str(tmp_path)

    def test_it_cannot_be_drawn(self, own):
        refused(own, "datasets/acdc.yaml", "key 'phantom': missing", "kind: local")

    def test_it_cannot_be_fetched(self, own):
        fetched = {"acdc": {"kind": "download"}}
        own.change(f"scales/{SCALE}.yaml", lambda c: c["sources"].update(fetched))
        refused(own, "datasets/acdc.yaml", "key 'archives'", "kind: local")

    def test_others_have_a_phantom(self, place):
        place.change("datasets/acdc.yaml", lambda c: c.pop("phantom"))
        refused(place, "datasets/acdc.yaml", "phantom", "access is 'own'")


def test_every_seed_is_a_run_of_its_own(place):
    one = place.plan()
    place.change(f"scales/{SCALE}.yaml", lambda c: c.update(seeds=[0, 1]))
    two = place.plan()
    trained = [key for key, run in one.runs.items() if run.settings["network"]]
    assert 0 < len(trained) < len(one.runs)  # floors and ceilings have no chance in them
    assert len(two.runs) == len(one.runs) + len(trained)
    assert one.runs.keys() < two.runs.keys()


def test_a_cohort_may_have_seeds_of_its_own(place):
    place.change(f"scales/{SCALE}.yaml", lambda c: c["cohorts"]["thigh"].update(seeds=[3, 4]))
    seeds = {run.settings["cohort"]: set() for run in place.plan().runs.values()}
    for run in place.plan().runs.values():
        seeds[run.settings["cohort"]].add(run.settings["seed"])
    assert seeds["thigh"] == {3, 4}
    assert seeds["cardiac"] == {0}


def test_a_method_may_be_run_with_the_first_seeds_only(place):
    place.change(f"scales/{SCALE}.yaml", lambda c: c.update(seeds=[5, 6, 7]))
    place.change(f"scales/{SCALE}.yaml", lambda c: c["cohorts"]["thigh"].update(fewer={"slac": 2}))
    seeds = {}
    for run in runs(place, "thigh"):
        seeds.setdefault(run.settings["method"], set()).add(run.settings["seed"])
    assert seeds["slac"] == {5, 6}
    assert seeds["naive_masking"] == {5, 6, 7}
    assert seeds["oracle"] == {5}


def test_a_method_that_trains_longer_is_one_that_exists(place):
    def longer(method):
        return lambda c: c["cohorts"]["thigh"].update(longer={method: 3})

    place.change(f"scales/{SCALE}.yaml", longer("slac"))
    steps = {r.settings["method"]: r.settings["training"]["steps"] for r in runs(place, "thigh")}
    assert steps["slac"] == 3 * steps["naive_masking"]
    place.change(f"scales/{SCALE}.yaml", longer("slack"))
    refused(place, "cohorts.thigh.longer", "slack")


def test_a_method_is_told_the_tasks_of_its_cohort(place):
    brief = {"steps": 2, "validate_every": 1}
    place.change(f"scales/{SCALE}.yaml", lambda c: c["cohorts"]["anatomy"].update(training=brief))
    file = place.root / "config/papers/kemnitz2018/runs.tsv"
    file.write_text(file.read_text() + "shared\tanatomy\tall_tasks\tlabel_sharing\n")
    (run,) = runs(place, "anatomy")
    cohort = Planner(place.root).cohort("anatomy")
    told = run.settings["method_options"]["tasks"]
    assert [[cohort.structures[i - 1] for i in task] for task in told] == [*cohort.tasks.values()]
    (of_slac, *_) = (r for r in runs(place, "thigh") if r.settings["method"] == "slac")
    assert "tasks" not in of_slac.settings["method_options"]


def test_a_scale_may_leave_arms_out(place):
    def leave(arm):
        return lambda c: c["cohorts"]["thigh"].update(leave_out=[arm])

    place.change(f"scales/{SCALE}.yaml", leave("naive"))
    assert "naive_masking" not in {run.settings["method"] for run in runs(place, "thigh")}
    assert "naive_masking" in {run.settings["method"] for run in runs(place, "cardiac")}
    place.change(f"scales/{SCALE}.yaml", leave("naive_masking"))
    refused(place, "cohorts.thigh.leave_out", "naive_masking", "slac")


def test_a_scale_may_only_prepare_a_cohort(place):
    place.change(
        f"scales/{SCALE}.yaml",
        lambda c: c["cohorts"]["thigh"].update(leave_out="all", training=None),
    )
    assert runs(place, "thigh") == []
    assert "thigh" in place.plan().prepared
    assert runs(place, "cardiac")


class TestAChainOfRuns:
    """Three tasks, then the head alone, then all four."""

    @pytest.fixture
    def chain(self, place):
        brief = {"steps": 10, "validate_every": 1}
        change = {"training": brief, "seeds": [0, 1]}
        place.change(f"scales/{SCALE}.yaml", lambda c: c["cohorts"]["anatomy"].update(change))
        rows = [
            ("arm", "cohort", "annotation", "method", "starts_from", "length"),
            ("first", "anatomy", "first_tasks", "label_sharing", "", ""),
            ("new", "anatomy", "added_task", "label_sharing", "first", "0.3"),
            ("all", "anatomy", "all_tasks", "label_sharing", "new", "0.7"),
        ]
        self.write(place, rows)
        return rows

    @staticmethod
    def write(place, rows):
        runs = place.root / "config/papers/kemnitz2018/runs.tsv"
        runs.write_text("".join("\t".join(row) + "\n" for row in rows))
        for file in ("tables", "figures", "claims"):
            empty = f"{file}: []\n"
            (place.root / f"config/papers/kemnitz2018/{file}.yaml").write_text(empty)

    @staticmethod
    def recipes(place, **inference):
        recipes = {name: {"inference": how} for name, how in inference.items()}
        path = place.root / "config/papers/kemnitz2018/recipes.yaml"
        path.write_text(json.dumps({"recipes": recipes}))

    @staticmethod
    def by_arm(plan: Plan, seed: int = 0) -> dict[str, Unit]:
        entries = plan.papers["kemnitz2018"]
        return {e["arm"]: plan.runs[e["run"]] for e in entries if f"/seed{seed}-" in e["run"]}

    def test_goes_on_from_the_weights_of_the_same_seed(self, place, chain):
        plan = place.plan()
        for seed in (0, 1):
            arms = self.by_arm(plan, seed)
            assert arms["first"].settings["starts_from"] is None
            assert arms["new"].settings["starts_from"] == arms["first"].hash
            assert arms["new"].settings["starts_from_run"].endswith(arms["first"].hash)
            assert arms["all"].settings["starts_from"] == arms["new"].hash

    def test_knows_the_tasks_that_its_weights_have_learned(self, place, chain):
        known = {arm: [*run.settings["tasks"]] for arm, run in self.by_arm(place.plan()).items()}
        assert known["first"] == ["pelvis", "abdomen", "chest"]
        assert known["new"] == known["all"] == ["pelvis", "abdomen", "chest", "head"]

    def test_trains_as_long_as_each_arm_says(self, place, chain):
        arms = self.by_arm(place.plan())
        steps = {arm: run.settings["training"]["steps"] for arm, run in arms.items()}
        assert steps == {"first": 10, "new": 3, "all": 7}

    def test_is_renamed_from_where_it_changes(self, place, chain):
        before = self.by_arm(place.plan())
        self.write(place, [*chain[:2], (*chain[2][:-1], "0.4"), chain[3]])
        after = self.by_arm(place.plan())
        assert {arm for arm in before if before[arm].hash != after[arm].hash} == {"new", "all"}

    def test_may_end_with_weights_that_predict_in_another_way(self, place, chain):
        self.recipes(place, y={"flips": [[1]]}, x={"flips": [[2]]})
        header, first, *_ = chain
        header, first = (*header, "recipe"), (*first, "")
        zero = ("anatomy", "first_tasks", "label_sharing", "first", "0")
        self.write(place, [header, first, ("along y", *zero, "y"), ("along x", *zero, "x")])
        plan = place.plan()
        arms = {e["arm"]: e["run"] for e in plan.papers["kemnitz2018"] if "/seed0-" in e["run"]}
        assert len(set(arms.values())) == 3
        assert plan.runs[arms["along y"]].settings["training"]["steps"] == 0
        flips = {arm: plan.scores[run].settings["inference"]["flips"] for arm, run in arms.items()}
        assert flips == {"first": [], "along y": [[1]], "along x": [[2]]}

    def test_of_runs_trained_alike_that_predict_in_other_ways_is_refused(self, place, chain):
        self.recipes(place, mirrored={"flips": [[1]]})
        header, first, *_ = chain
        again = ("again", *first[1:], "mirrored")
        self.write(place, [(*header, "recipe"), (*first, ""), again])
        refused(place, "arm 'again' on cohort 'anatomy'", "recipe 'mirrored'", "`length` 0")

    def test_is_left_out_as_a_whole(self, place, chain):
        def leave(*arms):
            return lambda c: c["cohorts"]["anatomy"].update(leave_out=list(arms))

        place.change(f"scales/{SCALE}.yaml", leave("new"))
        refused(place, "cohorts.anatomy", "'all' starts from 'new'", "not run here")
        place.change(f"scales/{SCALE}.yaml", leave("new", "all"))
        assert set(self.by_arm(place.plan())) == {"first"}


class TestPredictionsOfOtherSoftware:
    """An arm whose label maps lie in a folder."""

    @pytest.fixture
    def maps(self, place):
        file = place.root / "others" / "acdc" / "patient001_frame01.nii.gz"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"one")
        method = {"title": "nnU-Net v2", "implementation": "elsewhere", "label_maps": "others"}
        place.change("methods/nnunet_v2.yaml", lambda m: m.update(method))
        runs = place.root / "config/papers/kemnitz2018/runs.tsv"
        runs.write_text(runs.read_text() + "nnunet-v2\tcardiac\thalf_merged\tnnunet_v2\n")
        return file

    @staticmethod
    def scored(place) -> dict[str, dict]:
        scores = place.plan().scores.values()
        return {s.hash: s.settings for s in scores if s.settings["method"] == "nnunet_v2"}

    def test_are_scored_again_if_a_file_changes_and_nothing_else_is(self, place, maps):
        before = place.plan()
        (settings,) = self.scored(place).values()
        assert settings["label_maps"] == "others"
        maps.write_bytes(b"two")
        found = changed(before, place.plan())
        assert {name.split("/")[2] for name in found.pop("scores")} == {"nnunet_v2"}
        assert not any(found.values())

    def test_tables_say_that_they_were_not_trained_here(self, place, maps):
        said = shortened.training(Planner(place.root), place.plan(), "cardiac")
        assert said.endswith(", but for nnU-Net v2, which other software trained")

    def test_may_lie_somewhere_else(self, place, maps):
        before = self.scored(place)
        maps.parents[1].rename(place.root / "elsewhere")
        place.change("methods/nnunet_v2.yaml", lambda m: m.update(label_maps="elsewhere"))
        assert before.keys() == self.scored(place).keys()

    def test_are_of_every_seed_where_they_say_so(self, place, maps):
        place.change(f"scales/{SCALE}.yaml", lambda c: c.update(seeds=[0, 1]))
        assert len(self.scored(place)) == 1
        maps.parents[1].rename(place.root / "others0")
        shutil.copytree(place.root / "others0", place.root / "others1")
        place.change("methods/nnunet_v2.yaml", lambda m: m.update(label_maps="others{seed}"))
        folders = {settings["label_maps"] for settings in self.scored(place).values()}
        assert folders == {"others0", "others1"}

    def test_that_are_not_there_are_refused(self, place, maps):
        shutil.rmtree(maps.parents[1])
        refused(place, "arm 'nnunet-v2'", "nnunet_v2.yaml: key 'label_maps': no folder", "others")


class TestLeastShares:
    """`least` of the sampler of UniMOS, which names liver, kidney and spleen."""

    @pytest.fixture(autouse=True)
    def paper(self, place):
        place.change("config.yaml", lambda c: c.update(papers=["li2023"]))

    @staticmethod
    def of_unimos(place) -> dict:
        runs = [run.settings for run in place.plan().runs.values()]
        return next(run["sampler"] for run in runs if run["method"] == "unimos")

    def test_are_by_class(self, place):
        assert self.of_unimos(place)["least"] == [0.0, 0.0458, 0.0305, 0.0153]

    def test_of_a_structure_that_others_of_the_cohort_know_are_refused(self, place):
        place.change("methods/unimos.yaml", lambda m: m["sampler"]["least"].update(lver=0.1))
        refused(place, "arm 'unimos'", "sampler.least: ['lver'] are not among the structures")

    def test_ask_nothing_of_a_cohort_that_has_none_of_them(self, place):
        place.change("methods/unimos.yaml", lambda m: m["sampler"].update(least={"heart": 0.1}))
        assert self.of_unimos(place)["least"] == []


def test_what_overlaps_is_learned_by_methods_that_know_it(place):
    brief = {"steps": 2, "validate_every": 1}
    change = {"training": brief}
    place.change(f"scales/{SCALE}.yaml", lambda c: c["cohorts"]["extremities"].update(change))
    file, rows = place.root / "config/papers/kemnitz2018/runs.tsv", "shared\textremities\tall_tasks"
    text = file.read_text()
    file.write_text(f"{text}{rows}\tlabel_sharing\n")
    (run,) = runs(place, "extremities")
    assert run.settings["overlapping"]
    assert run.settings["method_options"]["overlapping"]
    file.write_text(f"{text}{rows}\tslac\n")
    refused(place, "methods/slac.yaml", "'extremities'", "overlap")


def test_the_patch_of_a_scale_is_that_of_every_method_of_patches(place):
    def patches(c):
        c["input"] = {"kind": "patches", "size": [8, 64, 64]}

    place.change("methods/slac.yaml", patches)
    place.change(f"scales/{SCALE}.yaml", lambda c: c["cohorts"]["thigh"].update(patch=[2, 16, 16]))
    given = {r.settings["method"]: r.settings["input"] for r in runs(place, "thigh")}
    assert given["slac"]["size"] == [2, 16, 16]
    assert given["naive_masking"]["kind"] == "slices"
    of_cardiac = {r.settings["method"]: r.settings["input"] for r in runs(place, "cardiac")}
    assert of_cardiac["slac"]["size"] == [8, 64, 64]


def test_learning_rate_changes_the_runs_of_its_method_only(place):
    before = place.plan()
    place.change("methods/slac.yaml", lambda c: c["optimiser"].update(learning_rate=0.003))
    difference = changed(before, place.plan())
    of_slac = {key for key in hashes(before)["runs"] if "/slac/" in key}
    assert len(of_slac) == 2
    assert difference == {stage: set() for stage in STAGES} | {"runs": of_slac, "scores": of_slac}


def test_phantom_seed_changes_everything_made_of_that_phantom(place):
    before = place.plan()
    place.change(f"scales/{SCALE}.yaml", lambda c: c["sources"]["acdc"].update(seed=99))
    difference = changed(before, place.plan())
    assert difference["raw"] == {"acdc"}
    for stage in STAGES[1:]:
        assert difference[stage] == of_cohort(hashes(before)[stage], "cardiac") != set()


def test_split_changes_all_but_the_raw_data(place):
    before = place.plan()
    place.change(f"scales/{SCALE}.yaml", lambda c: c["cohorts"]["thigh"]["split"].update(seed=1))
    difference = changed(before, place.plan())
    assert difference["raw"] == set()
    for stage in STAGES[1:]:
        assert difference[stage] == of_cohort(hashes(before)[stage], "thigh") != set()


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["transition"].update(margin=3),
        lambda c: c["transition"].update(least=5),
        lambda c: c["tasks"].update(chest=["lung"], arms=["scapula", "humerus", "clavicula"]),
    ],
)
def test_tasks_and_what_lies_between_change_their_cohort_only(place, change):
    before = place.plan()
    place.change("cohorts/anatomy.yaml", change)
    difference = changed(before, place.plan())
    assert difference["prepared"] == {"anatomy"}
    assert difference["raw"] == set()


def test_tasks_without_a_word_on_transition_have_its_defaults(place):
    before = place.plan()
    place.change("cohorts/anatomy.yaml", lambda c: c.pop("transition"))
    assert hashes(place.plan()) == hashes(before)


def test_a_cohort_without_tasks_says_nothing_of_them(place):
    for name, unit in place.plan().prepared.items():
        said = {"tasks", "transition", "projection"} & unit.settings.keys()
        if name.startswith("anatomy"):
            assert said == {"tasks", "transition"}
        elif name.startswith(("extremities", "bone_projections")):
            assert said == {"tasks", "projection"}
        else:
            assert not said


def test_an_annotation_changes_its_own_runs_only(place):
    def merge_two(cohort):
        cohort["annotations"]["half_merged"]["half2"]["merged"] = [["quadriceps", "flexors"]]

    before = place.plan()
    place.change("cohorts/thigh.yaml", merge_two)
    difference = changed(before, place.plan())
    assert difference["raw"] == difference["prepared"] == set()
    assert difference["annotated"] == {"thigh/half_merged"}
    assert {key.rsplit("/", 1)[0] for key in difference["runs"]} == {
        "thigh/half_merged/naive_masking",
        "thigh/half_merged/slac",
    }


def test_protocols_of_data_sets_name_class_ids_and_change_their_annotation_only(place):
    own = {"kind": "partial", "annotated": ["flexors"]}
    before = place.plan()
    place.change(
        "cohorts/thigh.yaml",
        lambda c: c["annotations"]["half_merged"].update(
            datasets={"oai_thigh": own}, sources=["oai_thigh"]
        ),
    )
    after = place.plan()
    assert changed(before, after)["annotated"] == {"thigh/half_merged"}
    settings = after.annotated["thigh/half_merged"].settings
    flexors = settings["structures"].index("flexors") + 1
    assert settings["own"] == {"oai_thigh": {"kind": "partial", "annotated": [flexors]}}
    assert settings["sources"] == ["oai_thigh"]


def test_scoring_changes_scores_but_no_run(place):
    before = place.plan()
    place.change("cohorts/cardiac.yaml", lambda c: c["scoring"].update(largest_component=[]))
    after = place.plan()
    assert after.runs == before.runs
    difference = changed(before, after)
    assert difference["scores"] == of_cohort(hashes(before)["scores"], "cardiac") != set()


def test_how_scans_are_predicted_changes_scores_but_no_run(place):
    place.change("methods/slac.yaml", lambda c: c.update(inference={"one_pass": True}))
    before = place.plan()
    place.change("methods/slac.yaml", lambda c: c.update(inference={"one_pass": False}))
    after = place.plan()
    assert after.runs == before.runs
    of_slac = {key for key in hashes(before)["scores"] if "/slac/" in key}
    assert changed(before, after)["scores"] == of_slac != set()


def test_what_decides_no_result_changes_no_hash(place):
    before = place.plan()

    def rename(content):
        content["title"] = content["notice"] = "other words"
        for cohort in content["cohorts"].values():
            if "training" in cohort:
                cohort["training"]["checkpoint_seconds"] = 1234

    def caption(content):
        for table in content["tables"]:
            table["title"] = "another caption"

    place.change(f"scales/{SCALE}.yaml", rename)
    place.change("papers/kemnitz2018/tables.yaml", caption)
    place.change("methods/slac.yaml", lambda c: c.update(title="another name"))
    place.change("datasets/acdc.yaml", lambda c: c.update(homepage="elsewhere"))
    after = place.plan()
    assert hashes(after) == hashes(before)
    assert {u.settings["training"]["checkpoint_seconds"] for u in after.runs.values()} == {1234}


def test_network_options_of_the_scale_reach_the_runs(place):
    for unit in place.plan().runs.values():
        wanted = {"width": 2, "padding": "same"} if unit.settings["network"] else {}
        assert unit.settings["network_options"] == wanted


def test_a_plan_that_cannot_be_written_says_where(place, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("piecemeal.plan_file.write_text", full)
    path = tmp_path / "plan.json"
    with pytest.raises(InputError, match=rf"{path}: .*No space left on device.*; make room"):
        freeze(place.plan(), path)


def test_freeze_and_thaw(place, tmp_path):
    plan, path = place.plan(), tmp_path / "results" / "plan.json"
    freeze(plan, path)
    thawed = thaw(path)
    # JSON has no integer keys (the raw label values); all else comes back as it was.
    assert asdict(thawed) == json.loads(json.dumps(asdict(plan)))
    assert hashes(thawed) == hashes(plan)
    freeze(thawed, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_freezing_the_same_plan_leaves_the_file_alone(place, tmp_path):
    path = tmp_path / "plan.json"
    freeze(place.plan(), path)
    os.utime(path, (1, 1))
    freeze(place.plan(), path)
    assert path.stat().st_mtime == 1


@pytest.mark.parametrize("content", [None, "{", ""])
def test_a_plan_that_cannot_be_read_is_refused_by_name(tmp_path, content):
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=re.escape(str(path))):
        thaw(path)


def test_local_data_without_a_path_names_file_and_key(place):
    refused(place, "config/local.yaml", "local.acdc", "acdc: /path/to", scale="pocket")


def test_local_path_is_taken_from_local_yaml(place):
    place.change("local.yaml", lambda c: c.update(local={"acdc": "/somewhere/acdc"}))
    assert place.plan("pocket").raw["acdc"].settings["path"] == "/somewhere/acdc"


def test_a_paper_on_request_is_made_where_it_is_asked_for(place):
    place.change("config.yaml", lambda c: c.update(papers=["kemnitz2018", "arena"]))
    assert list(place.plan("smoke").papers) == ["kemnitz2018", "arena"]
    assert list(place.plan("demo").papers) == ["kemnitz2018"]
    assert list(place.plan("demo", papers="all").papers) == ["kemnitz2018", "arena"]
    assert list(place.plan("demo", papers=["arena"]).papers) == ["arena"]
    place.change("local.yaml", lambda c: c.update(papers="all"))
    assert list(place.plan("demo").papers) == ["kemnitz2018", "arena"]
    place.change("scales/demo.yaml", lambda c: c.update(on_request=["arina"]))
    refused(place, "on_request", "arina", scale="demo")


def test_a_folder_that_no_run_needs_may_be_missing(place):
    place.change("local.yaml", lambda c: c.update(local={"acdc": "/somewhere/acdc"}))
    assert "head_neck" not in place.plan("pocket").prepared
    place.change("config.yaml", lambda c: c.update(papers=["arena"]))
    refused(place, "key 'local.openkbp': missing", scale="pocket")


def test_data_of_other_papers_are_left_alone_where_papers_are_chosen(place):
    place.change("config.yaml", lambda c: c.update(papers=["kemnitz2018", "moseley2023"]))
    everything = place.plan()
    assert everything.prepared.keys() > {"cardiac", "thigh", "liver"}
    chosen = place.plan(papers=["kemnitz2018"])
    assert chosen.prepared.keys() == {"cardiac", "thigh"}
    assert chosen.raw.keys() == {"acdc", "oai_thigh"}
    assert chosen.runs == place.plan(papers="kemnitz2018").runs
    assert place.plan(papers=["moseley2023", "kemnitz2018"]).prepared == everything.prepared


def test_a_paper_that_does_not_exist_is_refused_with_those_that_do(place):
    with pytest.raises(InputError, match=r"there is no 'kemnitz'; .* are: \['anand2024', 'arena'"):
        place.plan(papers=["kemnitz"])


def test_papers_without_a_run_at_a_scale_are_refused(place):
    said = "papers: moseley2023: nothing to run at scale pocket, whose cohorts are .*'cardiac'"
    with pytest.raises(InputError, match=said):
        place.plan("pocket", papers=["moseley2023"])


def test_slices_of_several_sizes_are_refused_before_anything_runs(place):
    place.change(
        "scales/smoke.yaml", lambda c: c["cohorts"]["thigh"].update(grid={"spacing_mm": 4})
    )
    refused(
        place,
        "config/papers/kemnitz2018/runs.tsv: arm 'xent-lb' on cohort 'thigh'",
        "slices, which have to be of one size",
        "give `grid.size`, or set input.kind to patches",
    )


def test_what_is_wrong_with_a_recipe_is_said_with_its_file(place):
    folder = place.root / "config/papers/kemnitz2018"
    rows = (folder / "runs.tsv").read_text().splitlines()
    given = [rows[0] + "\trecipe", *(f"{row}\tmine" for row in rows[1:])]
    (folder / "runs.tsv").write_text("\n".join(given))
    recipe = {"network": {"name": "nnunett"}, "batch_size": 2}
    place.change("papers/kemnitz2018/recipes.yaml", lambda c: c.update(recipes={"mine": recipe}))
    said = f"with recipe 'mine' of {folder / 'recipes.yaml'}: "
    refused(place, said, "network.name", "nnunett")


def test_overrides_come_last(place):
    place.change("local.yaml", lambda c: c.update(scale="pocket"))
    assert Planner(place.root).main.scale == "pocket"
    assert Planner(place.root, {"scale": "paper"}).main.scale == "paper"


def test_unknown_override_is_refused(place):
    with pytest.raises(InputError, match=r"--config: key 'scales'.*did you mean 'scale'"):
        Planner(place.root, {"scales": "demo"})


@pytest.mark.parametrize(("content", "said"), [("lokal: {}\n", "lokal"), ("- acdc\n", "expected")])
def test_mistakes_in_local_yaml_name_it(place, content, said):
    (place.root / "config" / "local.yaml").write_text(content)
    refused(place, "local.yaml", said)


def test_unknown_scale_lists_the_known_ones(place):
    refused(place, "huge.yaml", "demo", "smoke", scale="huge")


def test_unknown_annotation_in_runs_tsv(place):
    path = place.root / "config" / "papers" / "kemnitz2018" / "runs.tsv"
    path.write_text(path.read_text().replace("thigh\thalf_merged\tslac", "thigh\tquarter\tslac"))
    refused(place, "thigh.yaml", "'quarter'", "half_merged")


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("methods/slac.yaml", {"implementation": "slak"}, "key 'implementation'"),
        ("methods/slac.yaml", {"network": {"name": "u_net"}}, "key 'network.name'"),
        ("datasets/acdc.yaml", {"layout": "acdc2"}, "key 'layout'"),
    ],
)
def test_a_plug_in_that_does_not_exist_is_refused_by_file_and_key(place, file, change, said):
    place.change(file, lambda content: content.update(change))
    refused(place, file, said, "allowed: ")


def test_a_source_must_be_given_for_every_data_set(place):
    place.change(f"scales/{SCALE}.yaml", lambda c: c["sources"].pop("acdc"))
    refused(place, f"{SCALE}.yaml", "'sources'", "'acdc'")


def test_changed_code_changes_the_runs(place, monkeypatch):
    before = place.plan()
    real = planning.source_hash

    def edited(*modules):
        return "edited" if any("train" in module for module in modules) else real(*modules)

    monkeypatch.setattr(planning, "source_hash", edited)
    difference = changed(before, place.plan())
    assert difference["runs"] == set(hashes(before)["runs"])
    assert difference["annotated"] == set()


def test_equivalent_code_keeps_the_old_hash(place, monkeypatch):
    before = place.plan()
    real = planning.source_hash
    declared = {}

    def edited(*modules):
        old = real(*modules)
        declared[f"new {old}"] = old
        return f"new {old}"

    monkeypatch.setattr(planning, "source_hash", edited)
    assert hashes(place.plan())["raw"] != hashes(before)["raw"]
    assert hashes(place.plan(equivalent_code=declared)) == hashes(before)


def test_the_optimiser_of_a_scale_stands_in_for_that_of_the_methods(place):
    adam = {"name": "adam", "learning_rate": 0.004, "weight_decay": 0.1}
    before = {unit.hash for unit in runs(place, "cardiac")}
    place.change(
        f"scales/{SCALE}.yaml",
        lambda c: c["cohorts"]["thigh"]["training"].update(optimiser=adam),
    )
    for run in runs(place, "thigh"):
        given = run.settings["optimiser"]
        assert adam.items() <= given.items() if run.settings["network"] else given is None
        assert "optimiser" not in run.settings["training"]
    assert {unit.hash for unit in runs(place, "cardiac")} == before


def test_the_batch_of_a_scale_stands_in_for_that_of_the_methods(place):
    place.change(
        f"scales/{SCALE}.yaml",
        lambda c: c["cohorts"]["thigh"].update(
            training={"samples": 30, "validate_every": 30, "batch_size": 3}
        ),
    )
    for run in runs(place, "thigh"):
        trained = bool(run.settings["network"])
        assert run.settings["batch_size"] == (3 if trained else None)
        assert not trained or run.settings["training"]["steps"] == 10
    assert {r.settings["batch_size"] for r in runs(place, "cardiac")} >= {10}


def test_last_weights_are_scored_of_what_is_trained_where_the_scale_asks_for_them(place):
    def asked() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {"thigh": set(), "cardiac": set()}
        for unit in place.plan().scores.values():
            if unit.settings["last_weights"]:
                found[unit.settings["cohort"]].add(unit.settings["method"])
        return found

    before = place.plan()
    assert asked() == {"thigh": set(), "cardiac": set()}
    place.change(f"scales/{SCALE}.yaml", lambda c: c["cohorts"]["thigh"].update(last_weights=True))
    trained = {r.settings["method"] for r in runs(place, "thigh") if r.settings["network"]}
    assert asked() == {"thigh": trained, "cardiac": set()}
    difference = changed(before, place.plan())
    assert difference["runs"] == set()
    assert {key.split("/")[2] for key in difference["scores"]} == trained


def test_a_method_may_have_a_patch_of_its_own(place):
    def patches(c):
        c["input"] = {"kind": "patches", "size": [8, 64, 64]}

    for method in ("slac", "naive_masking"):
        place.change(f"methods/{method}.yaml", patches)
    change = {"patch": [2, 16, 16], "patches": {"slac": [4, 32, 32]}}
    place.change(f"scales/{SCALE}.yaml", lambda c: c["cohorts"]["thigh"].update(change))
    given = {r.settings["method"]: r.settings["input"] for r in runs(place, "thigh")}
    assert given["slac"]["size"] == [4, 32, 32]
    assert given["naive_masking"]["size"] == [2, 16, 16]
    change["patches"] = {"slack": [4, 32, 32]}
    place.change(f"scales/{SCALE}.yaml", lambda c: c["cohorts"]["thigh"].update(change))
    refused(place, "cohorts.thigh.patches", "slack")


def test_what_a_file_of_a_network_holds_decides_its_runs(place):
    file = place.root / "embeddings.npy"
    file.write_bytes(b"one")
    place.change("methods/slac.yaml", lambda c: c["network"].update(options={"file": str(file)}))
    before = place.plan()
    file.write_bytes(b"two")
    of_slac = {key for key in hashes(before)["runs"] if "/slac/" in key}
    assert changed(before, place.plan())["runs"] == of_slac
