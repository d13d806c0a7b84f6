"""Configuration as typed, validated models, one YAML file a thing.

`config/config.yaml` holds the defaults, `config/local.yaml` (not in git) what belongs to one
machine, and the folders below `config/` one file for every scale, data set, cohort and method.
Unknown keys and impossible values raise InputError, naming file, key and what is allowed.
Nothing here imports torch: Snakemake reads the configuration at every start.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from piecemeal.errors import InputError


class Strict(BaseModel):
    """A model that refuses keys it does not know and cannot be changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
PositiveInt = Annotated[int, Field(gt=0)]


class DatasetConfig(Strict):
    """One public data set: how it is laid out and what its raw label values mean."""

    title: str = Field(description="the data set's own name")
    modality: Literal["CT", "MR"] = Field(description="imaging modality")
    layout: Name = Field(description="reader in piecemeal/datasets/layouts")
    labels: dict[int, str] = Field(description="raw label value -> canonical structure")
    licence: str = Field(description="licence of the data, as its owner states it")
    access: Literal["open", "registration", "by hand", "phantom only"] = Field(
        description="how the data are obtained"
    )
    homepage: str = Field("", description="where to read about it and ask for it")
    citation: str = Field(description="what to cite")
    exclude: dict[str, str] = Field({}, description="scan -> reason it is left out")


class ScoringConfig(Strict):
    """What happens to a prediction before it is scored."""

    largest_component: list[str] = Field(
        [], description="structures of which only the largest 6-connected component is kept"
    )


class Complete(Strict):
    """Every voxel carries its class."""

    kind: Literal["complete"]


class SuperLabel(Strict):
    """Some structures are merged into one label."""

    kind: Literal["super_label"]
    merged: list[list[str]] = Field(description="groups of structures drawn as one")


class Partial(Strict):
    """Only some structures are drawn; the others may be anywhere that is not drawn."""

    kind: Literal["partial"]
    annotated: list[str] = Field(description="structures that are drawn")


class SparseSlices(Strict):
    """Only some slices are drawn."""

    kind: Literal["sparse_slices"]
    fraction: float = Field(gt=0, le=1, description="share of the slices that is drawn")
    axis: Literal[0, 1, 2] = Field(0, description="slice axis of (z, y, x)")
    seed: int = Field(description="which slices")


class Unlabelled(Strict):
    """Nothing is drawn."""

    kind: Literal["unlabelled"]


Protocol = Annotated[
    Complete | SuperLabel | Partial | SparseSlices | Unlabelled, Field(discriminator="kind")
]


class AnnotationConfig(Strict):
    """What the annotators of the two halves of a cohort are taken to have said."""

    description: str = Field(description="one line for tables and report")
    half1: Protocol | None = Field(description="protocol of the first half; null drops it")
    half2: Protocol | None = Field(description="protocol of the second half; null drops it")


class SplitConfig(Strict):
    """How many patients go where; which ones follows from the seed."""

    seed: int = Field(description="seed of the split and of the halves")
    train: PositiveInt = Field(description="patients to train on")
    validation: PositiveInt = Field(description="patients to choose the model on")
    test: PositiveInt = Field(description="patients to score")


class CohortConfig(Strict):
    """Data sets brought to one grid, with one list of structures, and their annotations."""

    title: str = Field(description="name in tables and figures")
    datasets: list[Name] = Field(min_length=1, description="names of files in config/datasets")
    structures: list[str] = Field(min_length=1, description="class ids 1, 2, ... in this order")
    grid_spacing_mm: float = Field(gt=0, description="in-plane pixel size of the common grid")
    size: PositiveInt = Field(description="in-plane size of the common grid in pixels")
    intensity: Literal["zscore"] = Field(description="normalisation of a volume")
    split: SplitConfig
    annotations: dict[Name, AnnotationConfig]
    scoring: ScoringConfig = ScoringConfig()

    @model_validator(mode="after")
    def _structures_exist(self) -> CohortConfig:
        named = list(self.scoring.largest_component)
        for annotation in self.annotations.values():
            for half in (annotation.half1, annotation.half2):
                if isinstance(half, SuperLabel):
                    named += [s for group in half.merged for s in group]
                elif isinstance(half, Partial):
                    named += half.annotated
        if unknown := sorted(set(named) - set(self.structures)):
            raise ValueError(f"unknown structures {unknown}; allowed: {self.structures}")
        return self


class NetworkConfig(Strict):
    """A network by name with its options; what is not said is the published size."""

    name: Name = Field(description="file in piecemeal/networks")
    options: dict[str, Any] = Field({}, description="keyword arguments of its build()")


class OptimiserConfig(Strict):
    """The optimiser and its learning rate, a function of the step alone."""

    name: Literal["adam"] = Field(description="optimiser")
    learning_rate: float = Field(gt=0, description="after the warm-up")
    warmup_steps: int = Field(0, ge=0, description="first steps, at a reduced rate")
    warmup_factor: float = Field(1.0, gt=0, le=1, description="the reduction in the warm-up")


class MethodConfig(Strict):
    """One method at its published settings."""

    title: str = Field(description="name in figures")
    implementation: Name = Field(description="file in piecemeal/methods")
    citation: str = Field("", description="paper the settings come from")
    options: dict[str, Any] = Field({}, description="keyword arguments of the implementation")
    network: NetworkConfig | None = Field(None, description="null for methods without a network")
    optimiser: OptimiserConfig | None = Field(None, description="null for untrained methods")
    batch_size: PositiveInt | None = Field(None, description="samples a step, over all devices")

    @model_validator(mode="after")
    def _all_or_none(self) -> MethodConfig:
        if len({part is None for part in (self.network, self.optimiser, self.batch_size)}) > 1:
            raise ValueError("network, optimiser and batch_size: give all three, or none of them")
        return self


class PhantomSource(Strict):
    """Draw the data set as a phantom in its official layout."""

    kind: Literal["phantom"]
    cases: PositiveInt = Field(description="subjects to draw")
    seed: int = Field(description="seed of the subjects")
    options: dict[str, Any] = Field({}, description="keyword arguments of the phantom writer")


class LocalSource(Strict):
    """Use a folder that already holds the official layout; its path is in `local`."""

    kind: Literal["local"]
    limit: PositiveInt | None = Field(None, description="use only the first so many patients")
    patients: list[str] | None = Field(None, description="use exactly these patients")


Source = Annotated[PhantomSource | LocalSource, Field(discriminator="kind")]


class TrainingConfig(Strict):
    """How long a run trains and how it is watched."""

    steps: PositiveInt = Field(description="optimisation steps at most")
    validate_every: PositiveInt = Field(description="steps between two validations")
    decay: Literal["none", "cosine"] = Field(
        "none", description="how the learning rate falls to zero over the steps; runs cut short"
    )
    patience: PositiveInt | None = Field(
        None, description="validations without a better loss before the run stops; null: never"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 autocast where this machine gains from it"
    )
    checkpoint_seconds: float = Field(60, ge=0, description="time between two checkpoints")


class CohortScale(Strict):
    """What a scale changes in a cohort."""

    split: SplitConfig | None = Field(None, description="replaces the cohort's split")
    grid_spacing_mm: float | None = Field(None, gt=0, description="replaces the grid's spacing")
    size: PositiveInt | None = Field(None, description="replaces the grid's size")
    training: TrainingConfig


class ScaleConfig(Strict):
    """One of the four sizes of the workflow."""

    title: str = Field(description="name in the report")
    notice: str = Field(description="what a reader must know before reading a number")
    shortened: list[str] = Field([], description="what differs from the papers' settings")
    seeds: list[int] = Field(min_length=1, description="one run a seed")
    sources: dict[Name, Source] = Field(description="data set -> where it comes from")
    cohorts: dict[Name, CohortScale] = Field(description="cohorts run at this scale")
    networks: dict[Name, dict[str, Any]] = Field({}, description="network -> changed options")


class MainConfig(Strict):
    """config/config.yaml, with config/local.yaml and `--config` on top."""

    scale: Name = Field(description="scale of the default target")
    papers: list[Name] = Field(min_length=1, description="folders of config/papers to reproduce")
    local: dict[Name, Path] = Field({}, description="data set -> folder with its official layout")
    equivalent_code: dict[str, str] = Field(
        {}, description="code hash -> older hash whose results stay valid (see docs/cluster.md)"
    )


def load_yaml(path: Path) -> Any:
    """Read a YAML file; InputError if it is absent, unreadable or not YAML."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise InputError(f"{path}: no such file; in that folder there are: {there}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {error}; correct the file") from None


def validate(content: Any, model: type[BaseModel], where: Path | str) -> Any:
    """Turn `content` into `model`; InputError naming `where`, the key and what is allowed."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [f"{where}: {_explain(e, model)}" for e in error.errors()]
        raise InputError("\n".join(lines)) from None


def load_model(path: Path, model: type[BaseModel]) -> Any:
    """Read `path` as `model`; InputError naming file, key and what is allowed."""
    return validate(load_yaml(path), model, path)


def _explain(error: dict, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "(whole file)"
    if error["type"] != "extra_forbidden":
        given = "" if error["type"] == "missing" else f", got {error['input']!r:.80}"
        return f"key '{key}': {error['msg']}{given}"
    allowed = _allowed_keys(model, error["loc"][:-1])
    near = difflib.get_close_matches(str(error["loc"][-1]), allowed, n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return f"key '{key}': unknown key{hint}; allowed: {', '.join(allowed)}"


def _allowed_keys(model: type[BaseModel], location: tuple) -> list[str]:
    """Follow `location` through nested models; the keys of the model it ends in."""
    candidates: list[Any] = [model]
    for part in location:
        following = []
        for candidate in candidates:
            fields = getattr(candidate, "model_fields", {})
            if part in fields:
                following += _models_in(fields[part].annotation)
            else:  # a dict key, a list index or the tag of a union
                following.append(candidate)
        candidates = following
    return sorted({name for c in candidates for name in getattr(c, "model_fields", {})})


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for inner in getattr(annotation, "__args__", ()) for m in _models_in(inner)]
