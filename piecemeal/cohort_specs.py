"""What a file of config/cohorts says: data sets, structures, grid, intensities, split, annotations.

Axes are (z, y, x) throughout.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from piecemeal.annotation_specs import AnnotationConfig, EveryNthSlice, Partial, SuperLabel
from piecemeal.bitmasks import MOST
from piecemeal.dataset_specs import Modality
from piecemeal.projection_specs import ProjectionConfig
from piecemeal.validation import Name, PositiveInt, Strict


class ScoringConfig(Strict):
    """What happens to a prediction before it is scored, and what is measured beside the usual."""

    largest_component: list[str] = Field(
        [], description="structures of which only the largest 6-connected component is kept"
    )
    slices: tuple[PositiveInt, PositiveInt] | None = Field(
        None,
        description="Hausdorff distance slice by slice as well, in pixels of a plane of so many "
        "(y, x), stretched to the scan's own",
    )
    least_voxels: int | None = Field(
        None,
        ge=0,
        description="structures with no more reference voxels than this in a scan are not scored "
        "there (Chen et al. 2024, released code: 50); null: all that the data set declares are",
    )
    resampled: Literal["probabilities", "labels"] = Field(
        "probabilities",
        description="what is brought from the grid to the voxels of a scan: probabilities, "
        "linearly, of which the largest wins there; or labels, each from the nearest voxel",
    )


class ZScore(Strict):
    """Zero mean and unit standard deviation over the volume."""

    kind: Literal["zscore"]


class Window(Strict):
    """Clipped to [low, high] and scaled linearly to `scale`."""

    kind: Literal["window"]
    low: float = Field(description="HU")
    high: float = Field(description="HU")
    scale: tuple[float, float] = Field((0.0, 1.0), description="what low and high become")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}: low must be below high")
        return self


class Percentiles(Window):
    """As a window between two percentiles of the volume."""

    kind: Literal["percentiles"]
    low: float = Field(1.0, ge=0, le=100, description="percentile")
    high: float = Field(99.0, ge=0, le=100, description="percentile")
    above: float | None = Field(0.0, description="of the voxels above this; null: of all")
    scale: tuple[float, float] = Field((0.0, 1.0), description="what low and high become")


Intensity = Annotated[ZScore | Window | Percentiles, Field(discriminator="kind")]


def _in_plane(value: Any) -> Any:
    """One number is for rows and columns; slices then stay as they are."""
    return value if isinstance(value, list | tuple | dict) else (None, value, value)


Millimetres = Annotated[float, Field(gt=0)]


class GridConfig(Strict):
    """The common grid; one number instead of three is in-plane, (null, number, number)."""

    spacing_mm: Annotated[
        tuple[Millimetres | None, Millimetres | None, Millimetres | None],
        BeforeValidator(_in_plane),
    ] = Field((None, None, None), description="voxel size; null: the scan's own")
    size: Annotated[
        tuple[PositiveInt | None, PositiveInt | None, PositiveInt | None],
        BeforeValidator(_in_plane),
    ] = Field((None, None, None), description="voxels; null: as many as cover the scan")
    fit: bool = Field(
        False, description="stretch an axis without spacing_mm to its size, whatever its voxels"
    )

    @model_validator(mode="after")
    def _no_contradiction(self) -> GridConfig:
        stretched = [
            size is not None and spacing is None
            for size, spacing in zip(self.size, self.spacing_mm, strict=True)
        ]
        if self.fit and not any(stretched):
            raise ValueError("`fit` stretches axes with a size and without spacing_mm; none is so")
        return self


class Counts(Strict):
    """How many patients of a data set go where."""

    train: int = Field(ge=0, description="patients to train on")
    validation: int = Field(ge=0, description="patients to choose the model on")
    test: int = Field(ge=0, description="patients to score")


class SplitConfig(Strict):
    """Which patients train, validate and test: counts, a committed file, or the publisher's.

    With `file` and `official` the file decides for the data sets that it has rows of.
    """

    seed: int = Field(description="seed of the split and of the halves")
    train: PositiveInt | None = Field(None, description="patients of each data set to train on")
    validation: PositiveInt | None = Field(None, description="to choose the model on")
    test: PositiveInt | None = Field(None, description="to score")
    datasets: dict[Name, Counts] = Field({}, description="data sets with counts of their own")
    file: Name | None = Field(None, description="config/splits/<file>.csv instead of counts")
    official: bool = Field(False, description="the split that the data sets come with")
    validation_share: float | None = Field(
        None, gt=0, lt=1, description="share of a file's training patients to validate on"
    )
    twins: Literal["separate", "keep"] = Field(
        "separate",
        description="the same scan in several data sets: out of training if another is tested on",
    )

    @model_validator(mode="after")
    def _one_way(self) -> SplitConfig:
        counts = (self.train, self.validation, self.test)
        if (self.file or self.official) and (any(counts) or self.datasets):
            raise ValueError("give counts, or `file` and `official`, not both")
        if not (self.file or self.official) and not all(counts):
            raise ValueError("give `train`, `validation` and `test`, a `file`, or `official: true`")
        if self.validation_share and not self.file:
            raise ValueError("`validation_share` goes with a `file`")
        return self


class TransitionConfig(Strict):
    """How a scan is cut into tasks (Anand et al. 2024, section 3.1, without numbers)."""

    margin: int = Field(
        2, ge=0, description="slices taken off both ends of the run that shows one task alone"
    )
    least: PositiveInt = Field(
        1, description="slices that must be left for a scan to be a case of the task"
    )


class CohortConfig(Strict):
    """Data sets brought to one grid, with one list of structures, and their annotations."""

    title: str = Field(description="name in tables and figures")
    datasets: list[Name] = Field(min_length=1, description="names of files in config/datasets")
    structures: list[str] = Field(min_length=1, description="class ids 1, 2, ... in this order")
    merged: dict[str, list[str]] = Field(
        {}, description="structure of the cohort -> structures of the data sets that make it up"
    )
    tasks: dict[Name, Annotated[list[str], Field(min_length=1)]] = Field(
        {}, description="task -> its structures; a scan is a case of each task that it shows"
    )
    transition: TransitionConfig | None = Field(
        None, description="slices between tasks, which belong to none; only with tasks"
    )
    projection: ProjectionConfig | None = Field(
        None, description="scans become projections, one a task; structures overlap in them"
    )
    orientation: Literal["file", "canonical"] = Field(
        description="voxel order: the file's, or turned so that z runs up, y back and x to the left"
    )
    grid: GridConfig
    intensity: dict[Modality, Intensity] = Field(
        min_length=1, description="modality -> normalisation of a volume"
    )
    split: SplitConfig
    selection: Literal["loss", "dice"] = Field(
        "loss",
        description="what the validation split chooses the weights of every run by: the arm's own "
        "loss on what it is annotated with, or the mean Dice of the structures on its full labels",
    )
    annotations: dict[Name, AnnotationConfig]
    scoring: ScoringConfig = ScoringConfig()

    @model_validator(mode="after")
    def _names_exist(self) -> CohortConfig:
        named = [*self.scoring.largest_component, *self.merged]
        for key, annotation in self.annotations.items():
            for part, given, allowed in (
                ("tasks", annotation.tasks or [], list(self.tasks)),
                ("sources", annotation.sources or [], self.datasets),
                ("datasets", annotation.datasets, self.datasets),
            ):
                if unknown := sorted(set(given) - set(allowed)):
                    raise ValueError(
                        f"annotations.{key}.{part}: unknown {unknown}; allowed: {allowed}"
                    )
            for protocol in annotation.protocols:
                if isinstance(protocol, SuperLabel):
                    named += [s for group in protocol.merged for s in group]
                elif isinstance(protocol, Partial):
                    named += protocol.annotated
        if unknown := sorted(set(named) - set(self.structures)):
            raise ValueError(f"unknown structures {unknown}; allowed: {self.structures}")
        if unknown := sorted(set(self.split.datasets) - set(self.datasets)):
            raise ValueError(f"split.datasets: unknown {unknown}; allowed: {self.datasets}")
        return self

    @model_validator(mode="after")
    def _views_are_anatomical(self) -> CohortConfig:
        for key, annotation in self.annotations.items():
            sliced = any(isinstance(p, EveryNthSlice) for p in annotation.protocols)
            if sliced and self.orientation != "canonical":
                raise ValueError(
                    f"annotations.{key}: `every_nth_slice` takes `orientation: canonical`"
                )
        return self

    @model_validator(mode="after")
    def _tasks_share_out_the_structures(self) -> CohortConfig:
        if not self.tasks:
            if self.transition:
                raise ValueError("transition: goes with `tasks` only")
            return self
        given = [name for names in self.tasks.values() for name in names]
        if unknown := sorted(set(given) - set(self.structures)):
            raise ValueError(f"tasks: unknown structures {unknown}; allowed: {self.structures}")
        if wrong := [name for name in self.structures if given.count(name) != 1]:
            raise ValueError(f"tasks: {wrong} must be in one task each, in none twice")
        if self.orientation != "canonical":
            raise ValueError("tasks: take axial slices, and these `orientation: canonical`")
        return self

    @model_validator(mode="after")
    def _projection_fits(self) -> CohortConfig:
        if self.projection is None:
            return self
        views = self.projection.views
        if views.keys() != self.tasks.keys():
            raise ValueError(f"projection.views: expected one for each of {list(self.tasks)}")
        if {view.dataset for view in views.values()} != set(self.datasets):
            raise ValueError(f"projection.views: expected some of each of {self.datasets}")
        if large := [task for task, names in self.tasks.items() if len(names) > MOST]:
            raise ValueError(f"tasks: {large} have more than {MOST} structures, a bit each")
        if self.transition or self.grid.size[0] or self.grid.spacing_mm[0]:
            raise ValueError("projection: goes without `transition` and with a grid in plane only")
        if wrong := [key for key, how in self.intensity.items() if isinstance(how, ZScore)]:
            raise ValueError(f"intensity.{wrong[0]}: projections take a window or percentiles")
        for key, annotation in self.annotations.items():
            if any(protocol.kind != "complete" for protocol in annotation.protocols):
                raise ValueError(f"annotations.{key}: projections take `complete` only")
        return self

    @property
    def overlapping(self) -> bool:
        """Whether a pixel may be of several structures: labels are bit masks (`bitmasks`)."""
        return self.projection is not None

    def parts(self) -> dict[str, list[str]]:
        """Structure of the cohort -> structures of the data sets that make it up, in order."""
        return {name: self.merged.get(name, [name]) for name in self.structures}
