"""What a paper's tables.yaml may say: measures, arms, columns, and the paper's own numbers.

Nothing here imports pandas or torch: Snakemake reads the papers at every start.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from piecemeal.validation import Name, Strict

Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Misses = Literal["diagonal", "excluded"]
Spread = Literal["cases", "runs"]
ScoreName = Literal["dice", "assd_mm", "hd_mm", "hd95_mm", "hd_slice_px"]


class Metric(Strict):
    """One measure of a table."""

    name: str = Field(description="name in the table and in the published numbers")
    score: ScoreName = Field(
        description="column of scores; hd_slice_px, the Hausdorff distance slice by slice, needs "
        "the cohorts' scoring.slices, in whose pixels it is"
    )
    unit: str = Field(
        description="unit; must be the published one ('1' for a fraction, '%' for a hundred times "
        "as much)"
    )
    decimals: int = Field(ge=0, le=6, description="digits after the point in print")
    better: Literal["higher", "lower"] = Field(description="which direction is better")
    printed: bool = Field(True, description="false: in the csv only")
    miss_counts: float | None = Field(
        None,
        description="distances: what a missed or invented structure counts in the code the paper "
        "cites; adds the row '<name>, a miss counts ...' to the csv",
    )
    normalised: bool = Field(
        False,
        description="distances: divided by the largest one of the column, over the compared arms, "
        "their cases and their seeds",
    )

    @model_validator(mode="after")
    def _a_share_has_no_unit(self) -> Metric:
        if self.normalised and not (self.is_distance and self.unit == "1"):
            raise ValueError(
                f"metric '{self.name}': only a distance is normalised, to the unit '1'"
            )
        if self.normalised and self.miss_counts is not None:
            raise ValueError(
                f"metric '{self.name}': a normalised one has no miss_counts; remove it"
            )
        return self

    @property
    def factor(self) -> float:
        """What a score is multiplied by to be in the unit."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def is_distance(self) -> bool:
        """Whether a missed structure leaves the measure undefined instead of zero."""
        return self.score != "dice"


class Speed(Strict):
    """One measure of cost: a column beside the structures, or of a table of its own."""

    name: str = Field(description="name in the table and in the published numbers")
    measure: Literal[
        "minutes_per_epoch",
        "seconds_per_case",
        "forward_passes_per_case",
        "seconds_per_case_one_pass",
        "forward_passes_per_case_one_pass",
        "training_minutes",
        "parameters",
        "parameters_per_task",
        "weights_mib",
    ] = Field(
        description="training time of one pass over the training samples; time to predict one "
        "scan of a case; forward passes of the network that this takes; the latter two where a "
        "method that takes a pass for every task shares one among them; time of all training "
        "steps; learned numbers of the network, or of all networks together; the same divided by "
        "the tasks that they are for; MiB that they take with 4 bytes each"
    )
    unit: str = Field(description="unit; must be the published one ('1' for a count)")
    decimals: int = Field(ge=0, le=6, description="digits after the point in print")
    better: Literal["higher", "lower"] = Field("lower", description="which direction is better")

    @property
    def varies(self) -> bool:
        """Whether runs or cases differ in it; the size of a network is the same in all of them."""
        return self.measure not in ("parameters", "parameters_per_task", "weights_mib")


class Arm(Strict):
    """One row of a table."""

    name: str = Field(description="arm in runs.tsv")
    label: str = Field(description="what markdown and html print")
    tex: str = Field(description="what LaTeX prints; inserted as it is")
    role: Literal["compared", "floor", "ceiling"] = Field(
        "compared", description="the best of the compared arms is printed in bold"
    )
    method: str | None = Field(
        None, description="`method` in the csv and in the published numbers; null: the name"
    )
    base: str | None = Field(None, description="`base` there; null: that of the table")
    setting: str | None = Field(
        None,
        description="`setting` there, where it differs from row to row; null: that of the half",
    )
    heading: str = Field(
        "",
        description="arms of one label stand side by side in print, each below its heading, and "
        "an arm without one below all of them",
    )

    @property
    def full_label(self) -> str:
        """What it is called where it stands alone."""
        return " ".join(filter(None, (self.label, self.heading)))


class Column(Strict):
    """One structure (in one phase) of a table, or the mean over several of one task."""

    name: str = Field(min_length=1, description="name in the csv and in the published numbers")
    heading: str = Field(description="what is printed above the column")
    structure: str | None = Field(None, description="structure in the scores")
    structures: list[str] = Field(
        [],
        description="in place of `structure`: several of one task; what a case scores is the mean "
        "over those of them that it has",
    )
    phase: str = Field("", description="phase in the scores; empty where there are none")
    datasets: list[Name] = Field([], description="only scans of these data sets; none: of all")
    modality: Literal["CT", "MR"] | None = Field(
        None, description="only scans of this one; null: of all"
    )

    @model_validator(mode="after")
    def _is_of_something(self) -> Column:
        if (self.structure is None) != bool(self.structures):
            raise ValueError(f"column '{self.name}': give either `structure` or `structures`")
        if len(set(self.structures)) < len(self.structures):
            raise ValueError(f"column '{self.name}': every structure must occur once")
        return self

    @property
    def members(self) -> list[str]:
        """The structures that it is of, one or several."""
        return self.structures if self.structure is None else [self.structure]


class Half(Strict):
    """One anatomy of a table: a cohort and its columns."""

    setting: str = Field(description="name in the csv and in the published numbers")
    cohort: Name = Field(description="cohort in runs.tsv")
    columns: list[Column] = Field(
        [], description="columns in printed order; none in a table that has only `speed`"
    )
    average: str | None = Field(
        None, description="name of the column of column means; null: there is none"
    )


class PublishedNumbers(Strict):
    """The paper's own numbers: a csv in the paper's folder."""

    file: str = Field(description="path below the paper's folder")
    rename: dict[str, Literal["method", "base", "setting", "column"]] = Field(
        {}, description="columns of that file that are called differently here"
    )


class Table(Strict):
    """One printed table."""

    key: Key = Field(description="second part of the output's name, as in <paper>_<key>.csv")
    label: str = Field(description="what the paper calls it, as in 'Table 2'")
    title: str = Field(description="caption")
    base: str = Field(description="network of all arms that name no other")
    published: PublishedNumbers | None = Field(
        None, description="the paper's own numbers; null: the paper has no such table"
    )
    metrics: list[Metric] = Field([], description="measures of each column, in printed order")
    misses: Misses = Field(
        "diagonal",
        description="what the distances of a missed or invented structure count: `diagonal` is the "
        "diagonal of the scan's volume; `excluded` leaves the case out of the column for every "
        "compared arm as soon as one of them missed or invented the structure",
    )
    spread: Spread = Field(
        "cases",
        description="what the standard deviations of the metrics are over: `cases`, of their means "
        "over seeds (population); `runs`, of each seed's mean over cases (sample, as a paper of "
        "several runs reports it)",
    )
    shared_seeds: bool = Field(
        False,
        description="true: scores of the compared arms are those of the seeds that all of them "
        "have run with; training times, floors and ceilings are of all seeds",
    )
    weights: Literal["best", "last"] = Field(
        "best",
        description="which weights of every run are scored: those that its validation chose, or "
        "those of the last step, where the scale asks for them (`last_weights`)",
    )
    speed: list[Speed] = Field([], description="measures of cost, in printed order")
    arms: list[Arm] = Field(min_length=1, description="rows in printed order")
    halves: list[Half] = Field(min_length=1, description="parts of the table, one below another")
    columns_per_block: int = Field(2, gt=0, description="structures side by side in print")
    remarks: list[str] = Field([], description="further lines of the footer")

    @property
    def compared(self) -> list[str]:
        """Names of the arms that are neither floor nor ceiling."""
        return [arm.name for arm in self.arms if arm.role == "compared"]

    def printed_as(self, arm: Arm, setting: str) -> tuple[str, str, str]:
        """`method`, `base` and `setting` of an arm in the csv; setting: of the half."""
        return arm.method or arm.name, arm.base or self.base, arm.setting or setting

    @model_validator(mode="after")
    def _names_are_unique(self) -> Table:
        for what, names in {
            "metrics and speed": [m.name for m in [*self.metrics, *self.speed]],
            "arms": [a.name for a in self.arms],
            "halves": [h.setting for h in self.halves],
            **{f"columns of {h.setting}": [c.name for c in h.columns] for h in self.halves},
        }.items():
            if len(set(names)) < len(names):
                raise ValueError(f"{what}: every name must occur once, got {names}")
        return self

    @model_validator(mode="after")
    def _rows_are_unique(self) -> Table:
        rows = [self.printed_as(a, h.setting) for a in self.arms for h in self.halves]
        if twice := sorted({row for row in rows if rows.count(row) > 1}):
            raise ValueError(
                f"method, base and setting {twice[0]} are of two rows; every arm of every half "
                "must differ in one of them"
            )
        places = [(arm.label, arm.heading) for arm in self.arms]
        if any(arm.heading for arm in self.arms) and len(set(places)) < len(places):
            raise ValueError(f"label and heading of every arm must differ, got {places}")
        return self

    @model_validator(mode="after")
    def _last_weights_have_it(self) -> Table:
        if self.weights == "last" and any(m.score == "hd_slice_px" for m in self.metrics):
            raise ValueError("last weights are not scored slice by slice; leave hd_slice_px out")
        return self

    @model_validator(mode="after")
    def _something_is_measured(self) -> Table:
        if not self.metrics and not self.speed:
            raise ValueError(f"table '{self.key}' has neither metrics nor speed; give it one")
        for half in self.halves:
            if self.metrics and not half.columns:
                raise ValueError(f"half '{half.setting}' has no columns for the metrics; add them")
            if half.average is not None and not half.columns:
                raise ValueError(
                    f"half '{half.setting}' has no columns to average; set average to null"
                )
        return self


class TablesFile(Strict):
    """tables.yaml."""

    tables: list[Table] = Field(description="tables of the paper")

    @field_validator("tables")
    @classmethod
    def _keys_are_unique(cls, tables: list) -> list:
        keys = [t.key for t in tables]
        if len(set(keys)) < len(keys):
            raise ValueError(f"every key must occur once, got {keys}")
        return tables
