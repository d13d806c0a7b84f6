"""Configuration as typed, validated models, one YAML file a thing.

`config/config.yaml` holds the defaults, `config/local.yaml` (not in git) what belongs to one
machine, and the folders below `config/` one file for every scale, data set, cohort and method.
What methods and scales say about training is in `training_specs`. Nothing here imports torch:
Snakemake reads the configuration at every start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from piecemeal.training_specs import TrainingConfig
from piecemeal.validation import Name, PositiveInt, Strict


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
