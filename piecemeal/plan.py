"""From the configuration to the runs it asks for, each with the hash that names its results.

Hashes are chained: raw data -> prepared cohort -> annotation -> run -> scores. Each covers its own
settings and the code that takes part, and the hash of what it is made from, so a path names
everything that decided what lies there.
"""

from __future__ import annotations

from piecemeal import config as c
from piecemeal.errors import InputError
from piecemeal.papers import PaperRun
from piecemeal.plan_data import DataPlanner, Plan, Unit, plugin
from piecemeal.training_specs import MethodConfig
from piecemeal.validation import load_model

__all__ = ["Plan", "Planner", "Unit"]


class Planner(DataPlanner):
    """Plans everything; see `DataPlanner` for what it reads."""

    def plan(self, scale_name: str) -> Plan:
        """The plan of one scale; InputError where files of the configuration contradict."""
        scale = self.scale(scale_name)
        self._check_names(scale, self.folder / "scales" / f"{scale_name}.yaml")
        plan = Plan(scale_name, {}, {}, {}, {}, {}, {})
        for name in scale.cohorts:  # also those that nothing is trained on
            self._prepared(plan, scale, name)
        for key in self.main.papers:
            runs = [
                {"arm": arm.arm, "run": self._run(plan, scale, arm, seed)}
                for arm in self.paper(key).runs
                if arm.cohort in scale.cohorts
                if arm.method not in scale.cohorts[arm.cohort].leave_out
                for seed in self._seeds(scale, arm)
            ]
            if runs:  # a paper may have nothing to run at a scale
                plan.papers[key] = runs
        return plan

    def method(self, name: str) -> MethodConfig:
        """The method `name`."""
        return self._load(load_model, self.folder / "methods" / f"{name}.yaml", MethodConfig)

    def _seeds(self, scale: c.ScaleConfig, arm: PaperRun) -> list[int]:
        """Those of the cohort; of what is not trained the first, as it has no chance in it."""
        change = scale.cohorts[arm.cohort]
        seeds = change.seeds or scale.seeds
        if not self.method(arm.method).network:
            return seeds[:1]
        return seeds[: change.fewer.get(arm.method)]

    def _run(self, plan: Plan, scale: c.ScaleConfig, arm: PaperRun, seed: int) -> str:
        path, method = self.folder / "methods" / f"{arm.method}.yaml", self.method(arm.method)
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
        training = change.training.plan(method, change.longer.get(arm.method, 1.0))
        given = method.input.model_dump(mode="json")
        if given["kind"] == "patches" and change.patch:
            given["size"] = list(change.patch)
        told = {}
        if method.told_tasks and cohort.tasks:
            ids = {name: i for i, name in enumerate(cohort.structures, start=1)}
            told["tasks"] = [[ids[name] for name in names] for names in cohort.tasks.values()]
        decides = {
            "cohort": arm.cohort,
            "annotation": arm.annotation,
            "method": arm.method,
            "seed": seed,
            "annotated": self._annotated(plan, scale, arm).hash,
            "structures": cohort.structures,
            "classes": len(cohort.structures) + 1,
            "implementation": method.implementation,
            "method_options": method.options | told,
            "network": network,
            "network_options": options,
            # The decay is among the settings of the training.
            "optimiser": method.optimiser.model_dump(exclude={"decay"})
            if method.optimiser
            else None,
            "batch_size": method.batch_size,
            "input": given,
            "sampler": method.sampler.model_dump(),
            "augmentation": method.augmentation.model_dump() if method.augmentation else {},
            # How often it is saved decides how much a kill costs, not the result.
            "training": {k: v for k, v in training.items() if k != "checkpoint_seconds"},
        }
        more = {"scale": plan.scale, "training": training}
        run = self._unit(decides, *plugins, "workflow.scripts.train", **more)
        key = f"{arm.cohort}/{arm.annotation}/{arm.method}/seed{seed}-{run.hash}"
        plan.runs[key] = run
        of_score = {k: v for k, v in decides.items() if k != "training"} | {
            "run": run.hash,
            "inference": method.inference.model_dump() | ({} if change.mirrors else {"flips": []}),
            "largest_component": cohort.scoring.largest_component,
            "slices": cohort.scoring.slices,
        }
        plan.scores[key] = self._unit(of_score, *plugins, "workflow.scripts.score")
        return key
