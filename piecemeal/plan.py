"""From the configuration to the runs it asks for, each with the hash that names its results.

Hashes are chained: raw data -> prepared cohort -> annotation -> run -> scores. Each covers its own
settings and the code that takes part, and the hash of what it is made from, so a path names
everything that decided what lies there.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from piecemeal import config as c
from piecemeal.agreement import check_against_cohorts
from piecemeal.cohort_specs import CohortConfig
from piecemeal.errors import InputError
from piecemeal.papers import PaperRun
from piecemeal.plan_data import DataPlanner, plugin
from piecemeal.plan_file import Plan, Unit
from piecemeal.provenance import file_sha256, folder_sha256
from piecemeal.sampler_specs import Sampler
from piecemeal.training_specs import MethodConfig
from piecemeal.validation import load_model

__all__ = ["Plan", "Planner", "Unit"]

SEED = "{seed}"  # in `label_maps` of a method

Chain = dict[tuple[str, str, int], str]  # cohort, arm and seed -> the run that was planned for it


class Planner(DataPlanner):
    """Plans everything; see `DataPlanner` for what it reads."""

    def plan(self, scale_name: str) -> Plan:
        """The plan of one scale; InputError where files of the configuration contradict."""
        scale = self.scale(scale_name)
        self._check_names(scale, self.folder / "scales" / f"{scale_name}.yaml")
        plan = Plan(scale_name, {}, {}, {}, {}, {}, {})
        for name in self._shown_cohorts(scale):
            if not self._waits_for_a_folder(scale, name):
                self._prepared(plan, scale, name)
        left_out = set() if self.papers_asked_for else set(scale.on_request)
        for key in (key for key in self.main.papers if key not in left_out):
            runs: list[dict[str, str]] = []
            before: Chain = {}
            check_against_cohorts(self.paper(key), self.cohort)
            for arm in self.paper(key).runs:
                change = scale.cohorts.get(arm.cohort)
                if change is None:
                    self._check_cohort(key, arm)
                    continue
                if change.leave_out == "all" or arm.arm in change.leave_out:
                    continue
                try:
                    method = self._as_run(key, arm)
                    for seed in self._seeds(scale, arm):
                        run = self._run(plan, scale, arm, method, seed, before)
                        before[arm.cohort, arm.arm, seed] = run
                        runs.append({"arm": arm.arm, "run": run})
                except InputError as error:
                    raise InputError(f"{self._said_of(key, arm)}: {error}") from None
            if runs:  # a paper may have nothing to run at a scale
                plan.papers[key] = runs
        if self.papers_asked_for and not plan.papers:
            raise InputError(
                f"papers: {', '.join(self.main.papers)}: nothing to run at scale {scale_name}, "
                f"whose cohorts are {sorted(scale.cohorts)}; ask for others, or add theirs to "
                f"{self.folder / 'scales' / scale_name}.yaml"
            )
        return plan

    def _shown_cohorts(self, scale: c.ScaleConfig) -> list[str]:
        """Those of the papers that were asked for; if nobody chose, also without any run."""
        if set(self.main.papers) >= set(self.every_paper):
            return list(scale.cohorts)
        asked = {arm.cohort for key in self.main.papers for arm in self.paper(key).runs}
        return [name for name in scale.cohorts if name in asked]

    def _said_of(self, paper: str, arm: PaperRun) -> str:
        """Where an arm is asked for, and where its recipe is, if it has one."""
        folder = self.folder / "papers" / paper
        recipe = f", with recipe '{arm.recipe}' of {folder / 'recipes.yaml'}" if arm.recipe else ""
        return f"{folder / 'runs.tsv'}: arm '{arm.arm}' on cohort '{arm.cohort}'{recipe}"

    def _check_cohort(self, paper: str, arm: PaperRun) -> None:
        """A scale may lack the cohort of an arm, but it has to be one."""
        if arm.cohort not in self._cohorts:
            raise InputError(
                f"{self._said_of(paper, arm)}: expected one of config/cohorts: "
                f"{sorted(self._cohorts)}"
            )

    @cached_property
    def _cohorts(self) -> set[str]:
        return {path.stem for path in (self.folder / "cohorts").glob("*.yaml")}

    def _waits_for_a_folder(self, scale: c.ScaleConfig, name: str) -> bool:
        """Whether a cohort is of folders that nobody has named: no error unless a run needs it."""
        sources = [scale.sources.get(dataset) for dataset in self.cohort(name).datasets]
        return any(
            isinstance(source, c.LocalSource) and dataset not in self.main.local
            for source, dataset in zip(sources, self.cohort(name).datasets, strict=True)
        )

    def method(self, name: str) -> MethodConfig:
        """The method `name`."""
        return self._load(load_model, self.folder / "methods" / f"{name}.yaml", MethodConfig)

    def _as_run(self, paper: str, arm: PaperRun) -> MethodConfig:
        """The method of an arm of `paper`, with its recipe if it has one."""
        method = self.method(arm.method)
        return self.paper(paper).recipes[arm.recipe].applied(method) if arm.recipe else method

    def _seeds(self, scale: c.ScaleConfig, arm: PaperRun) -> list[int]:
        """Those of the cohort; of what is not trained the first, as it has no chance in it."""
        change, method = scale.cohorts[arm.cohort], self.method(arm.method)
        seeds = change.seeds or scale.seeds
        if not method.network and SEED not in (method.label_maps or ""):
            return seeds[:1]
        return seeds[: change.fewer.get(arm.method)]

    def _run(
        self,
        plan: Plan,
        scale: c.ScaleConfig,
        arm: PaperRun,
        method: MethodConfig,
        seed: int,
        before: Chain,
    ) -> str:
        path = self.folder / "methods" / f"{arm.method}.yaml"
        cohort, change = self.cohort(arm.cohort), scale.cohorts[arm.cohort]
        implementation = plugin("piecemeal.methods", method.implementation, path, "implementation")
        plugins = [implementation]
        network, options = None, {}
        if method.network:
            network = method.network.name
            options = method.network.options | scale.networks.get(network, {})
            plugins.append(plugin("piecemeal.networks", network, path, "network.name"))
        if change.training is None:
            raise InputError(
                f"{self.folder / 'scales' / plan.scale}.yaml: key 'cohorts.{arm.cohort}.training': "
                f"missing, though the arm '{arm.arm}' is trained on it; say how, or leave it out"
            )
        longer = change.longer.get(arm.method, 1.0) * arm.length
        training = change.training.plan(method, longer)
        optimiser = method.optimiser and (change.training.optimiser or method.optimiser)
        given = method.input.model_dump(mode="json")
        if given["kind"] == "patches" and (patch := change.patches.get(arm.method, change.patch)):
            given["size"] = list(patch)
        # What a file holds decides the network, not where it lies.
        files = {
            key: file_sha256(Path(value))
            for key, value in options.items()
            if isinstance(value, str) and Path(value).is_file()
        }
        parent = self._parent(plan, arm, seed, before)
        annotated = self._annotated(plan, scale, arm)
        grid = plan.prepared[arm.cohort].settings["grid"]
        if method.network and given["kind"] == "slices" and None in grid["size"][1:]:
            raise InputError(
                "it learns slices, which have to be of one size, but the grid of the cohort leaves "
                "their rows or columns to the scans; give `grid.size`, or set input.kind to patches"
            )
        tasks = _tasks(cohort, annotated.settings["tasks"], parent)
        decides = {
            "cohort": arm.cohort,
            "annotation": arm.annotation,
            "method": arm.method,
            "seed": seed,
            "annotated": annotated.hash,
            "starts_from": parent.hash if parent else None,
            "structures": cohort.structures,
            "classes": len(cohort.structures) + 1,
            "implementation": method.implementation,
            "method_options": method.options | self._told(arm, method, cohort, tasks),
            "tasks": tasks,
            "overlapping": cohort.overlapping,
            "network": network,
            "network_options": options,
            **({"network_files": files} if files else {}),
            # The decay is among the settings of the training.
            "optimiser": optimiser.model_dump(exclude={"decay"}) if optimiser else None,
            "batch_size": method.batch_size and (change.training.batch_size or method.batch_size),
            "input": given,
            "sampler": _sampler(method.sampler, cohort),
            "selection": cohort.selection,
            "augmentation": method.augmentation.model_dump() if method.augmentation else {},
            # How often it is saved decides how much a kill costs, not the result.
            "training": {k: v for k, v in training.items() if k != "checkpoint_seconds"},
        }
        inference = method.inference.model_dump() | ({} if change.mirrors else {"flips": []})
        if not training["steps"]:
            decides["inference"] = inference  # all that sets it apart from others of these weights
        more = {"scale": plan.scale, "training": training}
        if parent:
            more["starts_from_run"] = before[arm.cohort, arm.starts_from, seed]
        run = self._unit(decides, *plugins, "workflow.scripts.train", **more)
        key = f"{arm.cohort}/{arm.annotation}/{arm.method}/seed{seed}-{run.hash}"
        plan.runs[key] = run
        of_score = {k: v for k, v in decides.items() if k != "training"} | {
            "run": run.hash,
            "inference": inference,
            "largest_component": cohort.scoring.largest_component,
            "slices": cohort.scoring.slices,
            "least_voxels": cohort.scoring.least_voxels,
            "resampled": cohort.scoring.resampled,
            "last_weights": change.last_weights and network is not None,
        }
        of_job = {}
        if method.label_maps is not None:
            folder = Path(method.label_maps.replace(SEED, str(seed)))
            of_score["label_maps_sha256"] = self._label_maps(path, folder)
            of_job = {"label_maps": str(folder)}  # where they lie decides nothing
        score = self._unit(of_score, *plugins, "workflow.scripts.score", **of_job)
        if plan.scores.setdefault(key, score).hash != score.hash:
            raise InputError(
                "it is trained exactly as another arm, which predicts in another way, so that both "
                "have one run; let it start from that arm (`starts_from`) with `length` 0"
            )
        return key

    def _label_maps(self, path: Path, folder: Path) -> str:
        """Hash of the predictions that the method in file `path` takes from a folder."""
        place = self.folder.parent / folder
        if not place.is_dir():
            raise InputError(
                f"{path}: key 'label_maps': no folder {place}, expected <dataset>/<scan>.nii.gz of "
                "every test scan in it; put them there, or leave the arm out"
            )
        return folder_sha256(place)

    def _parent(self, plan: Plan, arm: PaperRun, seed: int, before: Chain) -> Unit | None:
        """The run with whose weights this one starts; InputError if it is not run itself."""
        if arm.starts_from is None:
            return None
        key = before.get((arm.cohort, arm.starts_from, seed))
        if key is None:
            raise InputError(
                f"{self.folder / 'scales' / plan.scale}.yaml: key 'cohorts.{arm.cohort}': the arm "
                f"'{arm.arm}' starts from '{arm.starts_from}', which is not run here with seed "
                f"{seed}; leave both out, or none"
            )
        return plan.runs[key]

    def _told(
        self, arm: PaperRun, method: MethodConfig, cohort: CohortConfig, tasks: dict[str, list[int]]
    ) -> dict[str, Any]:
        """What a method is told of the cohort; InputError if it would have to be, and is not.

        In a cohort without tasks every structure is one.
        """
        if method.told_tasks:
            structures = [[i] for i in range(1, len(cohort.structures) + 1)]
            told = {"tasks": list(tasks.values()) if cohort.tasks else structures}
            return told | ({"overlapping": True} if cohort.overlapping else {})
        if cohort.overlapping and method.network:
            raise InputError(
                f"{self.folder / 'methods' / arm.method}.yaml: cannot learn the cohort "
                f"'{arm.cohort}', whose structures overlap; use one with `told_tasks: true`"
            )
        return {}


def _sampler(sampler: Sampler, cohort: CohortConfig) -> dict[str, Any]:
    """Its settings, with class ids in place of structures; InputError if some are not there.

    Of a cohort that has none of those that it names, it asks nothing.
    """
    settings = sampler.model_dump()
    least = settings.get("least", {})
    if absent := least.keys() - set(cohort.structures):
        if len(absent) < len(least):
            raise InputError(
                f"sampler.least: {sorted(absent)} are not among the structures of the cohort; "
                f"expected some of {cohort.structures}"
            )
        least = {}
    if "least" in settings:
        shares = [least.get(name, 0.0) for name in cohort.structures]
        settings["least"] = [0.0, *shares] if least else []
    return settings


def _tasks(
    cohort: CohortConfig, annotated: list[str] | None, parent: Unit | None
) -> dict[str, list[int]]:
    """Task -> class ids, of all tasks that a run learns or that its weights have learned."""
    known = set(cohort.tasks if annotated is None else annotated)
    known |= set(parent.settings["tasks"] if parent else [])
    ids = {name: i for i, name in enumerate(cohort.structures, start=1)}
    return {
        task: [ids[name] for name in names] for task, names in cohort.tasks.items() if task in known
    }
