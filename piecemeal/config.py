"""Configuration as typed, validated models, one YAML file a thing.

`config/config.yaml` holds the defaults, `config/local.yaml` (not in git) what belongs to one
machine, and the folders below `config/` one file for every scale, data set, cohort and method. What
data sets, cohorts and training say is in `dataset_specs`, `cohort_specs` and `training_specs`.
Nothing here imports torch: Snakemake reads the configuration at every start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from piecemeal.cohort_specs import GridConfig, SplitConfig
from piecemeal.training_specs import TrainingConfig
from piecemeal.validation import Name, PositiveInt, Strict


class PhantomSource(Strict):
    """Draw the data set as a phantom in its official layout."""

    kind: Literal["phantom"]
    cases: PositiveInt = Field(description="subjects to draw")
    seed: int = Field(description="seed of the subjects")
    options: dict[str, Any] = Field({}, description="keyword arguments of the phantom writer")


class DownloadSource(Strict):
    """Fetch the archives of config/datasets, or use them where they lie in `downloads`."""

    kind: Literal["download"]
    limit: PositiveInt | None = Field(None, description="use only the first so many patients")
    patients: list[str] | None = Field(None, description="use exactly these patients")


class LocalSource(Strict):
    """Use a folder that already holds the official layout; its path is in `local`."""

    kind: Literal["local"]
    limit: PositiveInt | None = Field(None, description="use only the first so many patients")
    patients: list[str] | None = Field(None, description="use exactly these patients")


Source = Annotated[PhantomSource | DownloadSource | LocalSource, Field(discriminator="kind")]


class CohortScale(Strict):
    """What a scale changes in a cohort."""

    split: SplitConfig | None = Field(None, description="replaces the cohort's split")
    grid: GridConfig | None = Field(None, description="replaces the cohort's grid")
    training: TrainingConfig | None = Field(
        None, description="how its runs are trained; none: its data are prepared only"
    )
    longer: dict[Name, Annotated[float, Field(gt=0)]] = Field(
        {}, description="method -> how many times as long as the others it trains"
    )
    fewer: dict[Name, PositiveInt] = Field(
        {}, description="method -> run with so many of the seeds only, the first ones"
    )
    shortened: list[str] = Field([], description="what else differs from the papers' settings")
    leave_out: Literal["all"] | list[str] = Field(
        [], description="arms that are not run at this scale; all: its data are prepared only"
    )
    mirrors: bool = Field(
        True,
        description="whether predictions are averaged over flips where a method's file says so",
    )
    last_weights: bool = Field(
        False, description="score the weights of the last step too, beside those of the best"
    )
    patch: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None, description="voxels along z, y and x of methods that learn from patches"
    )
    patches: dict[Name, tuple[PositiveInt, PositiveInt, PositiveInt]] = Field(
        {}, description="method -> patch of its own"
    )
    seeds: list[int] | None = Field(
        None, min_length=1, description="instead of the scale's; floors and ceilings take the first"
    )


class ScaleConfig(Strict):
    """One of the four sizes of the workflow."""

    title: str = Field(description="name in the report")
    notice: str = Field(description="what a reader must know before reading a number")
    shortened: list[str] = Field([], description="what differs from the papers' settings")
    seeds: list[int] = Field(min_length=1, description="one run a seed")
    sources: dict[Name, Source] = Field(description="data set -> where it comes from")
    cohorts: dict[Name, CohortScale] = Field(description="cohorts run at this scale")
    networks: dict[Name, dict[str, Any]] = Field({}, description="network -> changed options")
    on_request: list[Name] = Field(
        [], description="papers that are made only where `--config papers=` or local.yaml says so"
    )


def _one_or_more(papers: Any) -> Any:
    return [papers] if isinstance(papers, str) else papers


class MainConfig(Strict):
    """config/config.yaml, with config/local.yaml and `--config` on top."""

    scale: Name = Field(description="scale of the default target")
    papers: Annotated[list[Name], BeforeValidator(_one_or_more)] = Field(
        min_length=1,
        description="folders of config/papers to reproduce; `all` for every one of config.yaml, "
        "those that a scale leaves out unless they are asked for included",
    )
    local: dict[Name, Path] = Field({}, description="data set -> folder with its official layout")
    downloads: Path = Field(Path("data/downloads"), description="folder the archives are kept in")
    gpu_tflops: float = Field(
        40.0, gt=0, description="10^12 operations a second that a GPU sustains, for estimates only"
    )
    equivalent_code: dict[str, str] = Field(
        {}, description="code hash -> older hash whose results stay valid (see docs/cluster.md)"
    )
