"""From the configuration to the runs it asks for, each with the hash that names its results.

Hashes are chained: raw data -> prepared cohort -> annotation -> run -> scores. Each covers its own
settings and the code that takes part, and the hash of what it is made from, so a path names
everything that decided what lies there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piecemeal import config as c
from piecemeal.errors import InputError
from piecemeal.papers import PaperFolder, PaperRun, load_paper
from piecemeal.provenance import short_hash, source_hash
from piecemeal.registry import known
from piecemeal.training_specs import MethodConfig
from piecemeal.validation import load_model, load_yaml, validate


@dataclass(frozen=True)
class Unit:
    """One thing a rule makes: its hash, and the settings it is made from."""

    hash: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Everything one scale asks for. Keys are what the wildcards of the rules say.

    raw: data set; prepared: cohort; annotated: "cohort/annotation"; runs and scores:
    "cohort/annotation/method/seed<k>-<hash>"; papers: paper -> [{"arm": ..., "run": ...}].
    """

    scale: str
    raw: dict[str, Unit]
    prepared: dict[str, Unit]
    annotated: dict[str, Unit]
    runs: dict[str, Unit]
    scores: dict[str, Unit]
    papers: dict[str, list[dict[str, str]]]


class Planner:
    """Reads `root`/config; `overrides` are keys of config/config.yaml, as given by `--config`."""

    def __init__(self, root: Path = Path(), overrides: dict[str, Any] | None = None):
        self.folder = root / "config"
        self._read: dict[Path, Any] = {}
        self.main = self._main(overrides or {})

    def _load(self, read: Callable[..., Any], path: Path, *model: type) -> Any:
        """What `read` makes of `path`: read once, as every run asks for the same few files."""
        if path not in self._read:
            self._read[path] = read(path, *model)
        return self._read[path]

    def _main(self, overrides: dict[str, Any]) -> c.MainConfig:
        path, local = self.folder / "config.yaml", self.folder / "local.yaml"
        merged = dict(validate(load_yaml(path), c.MainConfig, path).model_dump(mode="json"))
        if local.exists():
            changes = load_yaml(local) or {}
            if not isinstance(changes, dict):
                raise InputError(
                    f"{local}: expected keys of {path}, as in `local: {{acdc: /path}}`"
                )
            validate({**merged, **changes}, c.MainConfig, local)
            merged |= changes
        return validate({**merged, **overrides}, c.MainConfig, "--config")

    def scale(self, name: str) -> c.ScaleConfig:
        """The scale `name`."""
        return self._load(load_model, self.folder / "scales" / f"{name}.yaml", c.ScaleConfig)

    def cohort(self, name: str) -> c.CohortConfig:
        """The cohort `name`, as at the scale `paper`."""
        return self._load(load_model, self.folder / "cohorts" / f"{name}.yaml", c.CohortConfig)

    def dataset(self, name: str) -> c.DatasetConfig:
        """The data set `name`."""
        return self._load(load_model, self.folder / "datasets" / f"{name}.yaml", c.DatasetConfig)

    def paper(self, key: str) -> PaperFolder:
        """The paper `key`."""
        return self._load(load_paper, self.folder / "papers" / key)

    def plan(self, scale_name: str) -> Plan:
        """The plan of one scale; InputError where files of the configuration contradict."""
        scale = self.scale(scale_name)
        self._check_names(scale, self.folder / "scales" / f"{scale_name}.yaml")
        plan = Plan(scale_name, {}, {}, {}, {}, {}, {})
        for key in self.main.papers:
            runs = [
                {"arm": arm.arm, "run": self._run(plan, scale, arm, seed)}
                for arm in self.paper(key).runs
                if arm.cohort in scale.cohorts
                for seed in scale.seeds
            ]
            if runs:  # a paper may have nothing to run at a scale
                plan.papers[key] = runs
        return plan

    def _check_names(self, scale: c.ScaleConfig, where: Path) -> None:
        """A misspelt name in a scale would silently change nothing."""
        for network in scale.networks:
            _plugin("piecemeal.networks", network, where, "networks")
        for key, folder in (("cohorts", "cohorts"), ("sources", "datasets")):
            allowed = sorted(path.stem for path in (self.folder / folder).glob("*.yaml"))
            if unknown := sorted(set(getattr(scale, key)) - set(allowed)):
                raise InputError(f"{where}: key '{key}': unknown {unknown}; allowed: {allowed}")

    def _unit(self, decides: dict[str, Any], *modules: str, **more: Any) -> Unit:
        """The unit that `decides` and the code of `modules` decide; `more` is for its job only."""
        source = source_hash(*modules)
        code = self.main.equivalent_code.get(source, source)
        found = short_hash(decides | {"code": code})
        code_of_job = {"code": code, "source_hash": source, "modules": list(modules)}
        return Unit(found, decides | {"hash": found} | more | code_of_job)

    def _raw(self, plan: Plan, scale: c.ScaleConfig, name: str) -> Unit:
        if name in plan.raw:
            return plan.raw[name]
        file = self.folder / "datasets" / f"{name}.yaml"
        dataset = self.dataset(name)
        where = self.folder / "scales" / f"{plan.scale}.yaml"
        if name not in scale.sources:
            raise InputError(f"{where}: key 'sources': says nothing about data set '{name}'")
        source = scale.sources[name]
        decides = {
            "dataset": name,
            "layout": dataset.layout,
            "source": source.model_dump(mode="json"),
        }
        path = None  # not in the hash: a folder may move, and is checked by its content
        layout = _plugin("piecemeal.datasets.layouts", dataset.layout, file, "layout")
        modules = ["workflow.scripts.fetch", layout]
        if isinstance(source, c.PhantomSource):
            modules.append(_plugin("piecemeal.datasets.phantoms", dataset.layout, file, "layout"))
        elif name in self.main.local:
            path = str(self.main.local[name])
        else:
            raise InputError(
                f"{self.folder / 'local.yaml'}: key 'local.{name}': missing; the scale "
                f"'{plan.scale}' reads {dataset.title} from a folder of yours; write there\n"
                f"local:\n  {name}: /path/to/the/folder\n({dataset.access}: {dataset.homepage})"
            )
        plan.raw[name] = self._unit(decides, *modules, path=path)
        return plan.raw[name]

    def _prepared(self, plan: Plan, scale: c.ScaleConfig, name: str) -> Unit:
        if name in plan.prepared:
            return plan.prepared[name]
        cohort, change = self.cohort(name), scale.cohorts[name]
        datasets, modules = {}, ["workflow.scripts.prepare"]
        for d in cohort.datasets:
            dataset = self.dataset(d)
            raw = self._raw(plan, scale, d)
            phantom = isinstance(scale.sources[d], c.PhantomSource)
            datasets[d] = {
                "raw": raw.hash,
                "layout": dataset.layout,
                "labels": dataset.labels,
                "modality": dataset.modality,
                # Known bad scans are real ones; a phantom has other subjects.
                "exclude": {} if phantom else dataset.exclude,
                "limit": raw.settings["source"].get("limit"),
                "patients": raw.settings["source"].get("patients"),
            }
            modules.append(f"piecemeal.datasets.layouts.{dataset.layout}")
        decides = {
            "cohort": name,
            "datasets": datasets,
            "structures": cohort.structures,
            "grid_spacing_mm": change.grid_spacing_mm or cohort.grid_spacing_mm,
            "size": change.size or cohort.size,
            "intensity": cohort.intensity,
            "split": (change.split or cohort.split).model_dump(),
        }
        plan.prepared[name] = self._unit(decides, *modules)
        return plan.prepared[name]

    def _annotated(self, plan: Plan, scale: c.ScaleConfig, arm: PaperRun) -> Unit:
        key = f"{arm.cohort}/{arm.annotation}"
        if key in plan.annotated:
            return plan.annotated[key]
        cohort = self.cohort(arm.cohort)
        if arm.annotation not in cohort.annotations:
            raise InputError(
                f"{self.folder / 'cohorts' / arm.cohort}.yaml: key 'annotations': has no "
                f"'{arm.annotation}', which a runs.tsv asks for; there are: "
                f"{sorted(cohort.annotations)}"
            )
        annotation = cohort.annotations[arm.annotation]
        ids = {name: i for i, name in enumerate(cohort.structures, start=1)}
        decides = {
            "prepared": self._prepared(plan, scale, arm.cohort).hash,
            "classes": len(cohort.structures) + 1,
            "halves": [_protocol(half, ids) for half in (annotation.half1, annotation.half2)],
        }
        plan.annotated[key] = self._unit(decides, "workflow.scripts.annotate")
        return plan.annotated[key]

    def _run(self, plan: Plan, scale: c.ScaleConfig, arm: PaperRun, seed: int) -> str:
        path = self.folder / "methods" / f"{arm.method}.yaml"
        method: MethodConfig = self._load(load_model, path, MethodConfig)
        cohort = self.cohort(arm.cohort)
        implementation = _plugin("piecemeal.methods", method.implementation, path, "implementation")
        plugins = [implementation]
        network, options = None, {}
        if method.network:
            network = method.network.name
            options = method.network.options | scale.networks.get(network, {})
            plugins.append(_plugin("piecemeal.networks", network, path, "network.name"))
        training = scale.cohorts[arm.cohort].training.model_dump()
        decides = {
            "cohort": arm.cohort,
            "annotation": arm.annotation,
            "method": arm.method,
            "seed": seed,
            "annotated": self._annotated(plan, scale, arm).hash,
            "structures": cohort.structures,
            "classes": len(cohort.structures) + 1,
            "implementation": method.implementation,
            "method_options": method.options,
            "network": network,
            "network_options": options,
            "optimiser": method.optimiser.model_dump() if method.optimiser else None,
            "batch_size": method.batch_size,
            "input": method.input.model_dump(mode="json"),
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
            "inference": method.inference.model_dump(),
            "largest_component": cohort.scoring.largest_component,
        }
        plan.scores[key] = self._unit(of_score, *plugins, "workflow.scripts.score")
        return key


def _plugin(package: str, name: str, where: Path, key: str) -> str:
    """The module of a plug-in that `key` of the file `where` names; InputError if there is none."""
    if name not in (names := known(package)):
        raise InputError(
            f"{where}: key '{key}': {package} has no '{name}'; allowed: {', '.join(names)}"
        )
    return f"{package}.{name}"


def _protocol(protocol: Any, ids: dict[str, int]) -> dict[str, Any] | None:
    """A protocol with class ids in place of the names of structures."""
    if protocol is None:
        return None
    content = protocol.model_dump()
    if "merged" in content:
        content["merged"] = [[ids[s] for s in group] for group in content["merged"]]
    if "annotated" in content:
        content["annotated"] = [ids[s] for s in content["annotated"]]
    return content
