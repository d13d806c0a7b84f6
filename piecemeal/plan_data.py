"""The part of the plan that is about data: raw data sets, prepared cohorts, annotations."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from piecemeal import config as c
from piecemeal.annotation_specs import with_ids
from piecemeal.cohort_specs import CohortConfig, TransitionConfig
from piecemeal.dataset_specs import UNPACKED, DatasetConfig
from piecemeal.errors import InputError
from piecemeal.layout_options import check_layout_options
from piecemeal.papers import PaperFolder, PaperRun, load_paper, read_runs
from piecemeal.plan_file import Plan, Unit
from piecemeal.provenance import short_hash, source_hash
from piecemeal.registry import known
from piecemeal.validation import load_model, load_yaml, validate

# What of an archive decides the data: where it is fetched from does not.
IDENTITY = ("name", "sha256", "md5", "unpack", "into", "numbers")
# What of a data set's file decides how its scans are prepared, labels apart.
OF_DATASET = ("layout", "layout_options", "modality", "other_modality")
OF_DATASET += ("sides", "side_check", "unit_spacing")


class DataPlanner:
    """Reads `root`/config; `overrides` are keys of config/config.yaml, as given by `--config`."""

    def __init__(self, root: Path = Path(), overrides: dict[str, Any] | None = None):
        self.folder = root / "config"
        self._read: dict[Path, Any] = {}
        self.papers_asked_for = False
        self.main = self._main(overrides or {})

    def _load(self, read: Callable[..., Any], path: Path, *model: type) -> Any:
        """What `read` makes of `path`: read once, as every run asks for the same few files."""
        if path not in self._read:
            self._read[path] = read(path, *model)
        return self._read[path]

    def _main(self, overrides: dict[str, Any]) -> c.MainConfig:
        path, local = self.folder / "config.yaml", self.folder / "local.yaml"
        merged = dict(validate(load_yaml(path), c.MainConfig, path).model_dump(mode="json"))
        self.every_paper = every = merged["papers"]

        def said(changes: dict[str, Any]) -> dict[str, Any]:
            self.papers_asked_for |= "papers" in changes
            return changes | ({"papers": every} if changes.get("papers") == "all" else {})

        if local.exists():
            changes = load_yaml(local) or {}
            if not isinstance(changes, dict):
                raise InputError(
                    f"{local}: expected keys of {path}, as in `local: {{acdc: /path}}`"
                )
            merged |= said(changes)
            validate(merged, c.MainConfig, local)
        return validate({**merged, **said(overrides)}, c.MainConfig, "--config")

    def scale(self, name: str) -> c.ScaleConfig:
        """The scale `name`."""
        return self._load(load_model, self.folder / "scales" / f"{name}.yaml", c.ScaleConfig)

    def cohort(self, name: str) -> CohortConfig:
        """The cohort `name`, as at the scale `paper`."""
        return self._load(load_model, self.folder / "cohorts" / f"{name}.yaml", CohortConfig)

    def dataset(self, name: str) -> DatasetConfig:
        """The data set `name`."""
        return self._load(load_model, self.folder / "datasets" / f"{name}.yaml", DatasetConfig)

    def paper(self, key: str) -> PaperFolder:
        """The paper `key`; InputError if there is none."""
        if not (self.folder / "papers" / key).is_dir():
            there = sorted(path.name for path in (self.folder / "papers").iterdir())
            raise InputError(f"papers: there is no '{key}'; in config/papers there are: {there}")
        return self._load(load_paper, self.folder / "papers" / key)

    def _check_names(self, scale: c.ScaleConfig, where: Path) -> None:
        """A misspelt name in a scale would silently change nothing."""
        for network in scale.networks:
            plugin("piecemeal.networks", network, where, "networks")
        given = [
            ("cohorts", "cohorts", scale.cohorts),
            ("sources", "datasets", scale.sources),
            ("on_request", "papers", scale.on_request),
            *(
                (f"cohorts.{name}.{key}", "methods", getattr(cohort, key))
                for name, cohort in scale.cohorts.items()
                for key in ("longer", "fewer", "patches")
            ),
        ]
        for key, folder, names in given:
            allowed = sorted(
                path.stem
                for path in (self.folder / folder).iterdir()
                if path.suffix == ".yaml" or path.is_dir()
            )
            if unknown := sorted(set(names) - set(allowed)):
                raise InputError(f"{where}: key '{key}': unknown {unknown}; allowed: {allowed}")
        # Of all papers, as a scale is the same whichever are asked for.
        every = [run for file in self.folder.glob("papers/*/runs.tsv") for run in read_runs(file)]
        for name, cohort in scale.cohorts.items():
            if cohort.leave_out == "all":
                continue
            arms = {run.arm for run in every if run.cohort == name}
            if unknown := sorted(set(cohort.leave_out) - arms):
                raise InputError(
                    f"{where}: key 'cohorts.{name}.leave_out': unknown arms {unknown}; allowed: "
                    f"{sorted(arms)}"
                )

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
        if name not in scale.sources:
            where = self.folder / "scales" / f"{plan.scale}.yaml"
            raise InputError(f"{where}: key 'sources': says nothing about data set '{name}'")
        source = scale.sources[name]
        if isinstance(source, c.DownloadSource) and name in self.main.local:
            # Who has a copy already need not fetch another.
            source = c.LocalSource(kind="local", limit=source.limit, patients=source.patients)
        decides: dict[str, Any] = {
            "dataset": name,
            "layout": dataset.layout,
            "layout_options": dataset.layout_options,
            "source": source.model_dump(mode="json"),
        }
        # What is downloaded or linked is checked by its content: neither where it is nor the code
        # that gets it decides anything.
        more: dict[str, Any] = {}
        modules = [plugin("piecemeal.datasets.layouts", dataset.layout, file, "layout")]
        check_layout_options(modules[0], dataset.layout_options, file)
        if isinstance(source, c.PhantomSource):
            if dataset.phantom is None:
                raise InputError(
                    f"{file}: key 'phantom': missing, though the scale '{plan.scale}' draws "
                    f"{dataset.title}; say how, or set its source to {{kind: local}} there"
                )
            writer = dataset.phantom.writer
            modules.append(plugin("piecemeal.datasets.phantoms", writer, file, "phantom.writer"))
            decides["phantom"] = dataset.phantom.model_dump()
        elif isinstance(source, c.DownloadSource):
            if not dataset.archives:
                raise InputError(
                    f"{file}: key 'archives': {dataset.title} has none ({dataset.access}); let the "
                    f"scale '{plan.scale}' read it from a folder (kind: local) or draw its phantom"
                )
            archives = [archive.model_dump() for archive in dataset.archives]
            decides["archives"] = [{key: a[key] for key in IDENTITY} for a in archives]
            decides["unpacked"] = UNPACKED
            more = {
                "downloads": str(self.main.downloads / name),
                "all_of_archives": archives,
                "homepage": dataset.homepage,
            }
        elif name in self.main.local:
            more = {"path": str(self.main.local[name])}
        else:
            raise InputError(
                f"{self.folder / 'local.yaml'}: key 'local.{name}': missing; the scale "
                f"'{plan.scale}' reads {dataset.title} from a folder of yours; write there\n"
                f"local:\n  {name}: /path/to/the/folder\n({dataset.access}: {dataset.homepage})"
            )
        more["restricted"] = not isinstance(source, c.PhantomSource)  # drawn files only are shared
        plan.raw[name] = self._unit(decides, *modules, **more)
        return plan.raw[name]

    def _prepared(self, plan: Plan, scale: c.ScaleConfig, name: str) -> Unit:
        if name in plan.prepared:
            return plan.prepared[name]
        cohort, change = self.cohort(name), scale.cohorts[name]
        datasets, restricted, modules = {}, [], ["workflow.scripts.prepare"]
        for d in cohort.datasets:
            dataset = self.dataset(d)
            raw = self._raw(plan, scale, d)
            of_source = raw.settings["source"]
            phantom = of_source["kind"] == "phantom"
            if not phantom and dataset.redistribution != "allowed":
                restricted.append(d)
            content = dataset.model_dump(mode="json")
            datasets[d] = {
                "raw": raw.hash,
                **{key: content[key] for key in OF_DATASET},
                # A list, because the later of two overlapping masks wins.
                "labels": [[raw_value, name] for raw_value, name in dataset.labels.items()],
                # Known bad scans are real ones; a phantom has other subjects.
                "exclude": {} if phantom else dataset.exclude,
                "limit": of_source.get("limit"),
                "patients": of_source.get("patients"),
                # A copy of a published data set may be a part of it; of one's own there is no more.
                "partial": of_source["kind"] == "local" and dataset.access != "own",
            }
            modules.append(f"piecemeal.datasets.layouts.{dataset.layout}")
        split = (change.split or cohort.split).model_dump(mode="json")
        if split["file"]:
            file = self.folder / "splits" / f"{split['file']}.csv"
            split |= {"file": str(file), "rows": short_hash(_rows(file, cohort.datasets))}
        grid = change.grid or cohort.grid
        if cohort.projection and (grid.size[0] or grid.spacing_mm[0]):
            where = self.folder / "scales" / f"{plan.scale}.yaml"
            raise InputError(
                f"{where}: key 'cohorts.{name}.grid': projections have no slices, only rows and "
                "columns; give one number, or null first"
            )
        decides = {
            "cohort": name,
            "datasets": datasets,
            # Lists, because the order decides the class ids.
            "structures": [[one, parts] for one, parts in cohort.parts().items()],
            "orientation": cohort.orientation,
            "grid": grid.model_dump(mode="json"),
            "intensity": {
                modality: how.model_dump(mode="json") for modality, how in cohort.intensity.items()
            },
            "split": split,
        }
        if cohort.projection:
            projection = cohort.projection.model_dump(mode="json")
            decides |= {"tasks": cohort.tasks, "projection": projection}
        elif cohort.tasks:
            transition = cohort.transition or TransitionConfig()
            decides |= {"tasks": cohort.tasks, "transition": transition.model_dump(mode="json")}
        plan.prepared[name] = self._unit(decides, *modules, restricted=bool(restricted))
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
            "structures": cohort.structures,
            "halves": [with_ids(half, ids) for half in (annotation.half1, annotation.half2)],
            "own": {name: with_ids(own, ids) for name, own in annotation.datasets.items()},
            "known": annotation.known,
            "tasks": annotation.tasks,
            "sources": annotation.sources,
        }
        if dealt := annotation.dealt:
            hands = {name: with_ids(hand, ids) for name, hand in dealt.hands.items()}
            decides["dealt"] = {"seed": dealt.seed, "hands": hands}
        if cohort.overlapping:
            decides["bits"] = {t: [ids[name] for name in own] for t, own in cohort.tasks.items()}
        plan.annotated[key] = self._unit(decides, "workflow.scripts.annotate")
        return plan.annotated[key]


def _rows(path: Path, datasets: list[str]) -> list[list[str]]:
    """The rows of a committed split that are about these data sets, sorted."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return sorted(row for row in csv.reader(file) if row and row[0] in datasets)
    except (OSError, UnicodeDecodeError):
        there = sorted(p.stem for p in path.parent.glob("*.csv"))
        raise InputError(f"{path}: no such split; in that folder there are: {there}") from None


def plugin(package: str, name: str, where: Path, key: str) -> str:
    """The module of a plug-in that `key` of the file `where` names; InputError if there is none."""
    if name not in (names := known(package)):
        raise InputError(
            f"{where}: key '{key}': {package} has no '{name}'; allowed: {', '.join(names)}"
        )
    return f"{package}.{name}"
