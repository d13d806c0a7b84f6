"""What a paper's claims.yaml may say: kinds of claims, and what each of them compares.

How they are tested is in `evaluation.claim_kinds`. Nothing here imports pandas or torch: Snakemake
reads the papers at every start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from piecemeal.table_specs import ScoreName
from piecemeal.validation import Name, Strict, load_model


class Claim(Strict):
    """What every kind of claim says about itself."""

    claim: Name = Field(description="id of the claim; ends in the name of its cohort")
    statement: str = Field(min_length=1, description="what is tested, in one sentence")
    quote: str = Field(min_length=1, description="the paper's sentence, word for word")
    note: str = Field("", description="how the test follows from the quoted sentence")
    cohort: Name = Field(description="the cohort whose test cases decide")
    metric: ScoreName = Field(
        "dice",
        description="what is compared: a column of scores.csv, or hd_slice_px of scores.json",
    )
    structures: list[str] = Field(
        [], description="the structures that it is about; none: all of the cohort"
    )
    datasets: list[str] = Field(
        [], description="the data sets whose test scans decide; none: all of the cohort"
    )
    modality: Literal["CT", "MR"] | None = Field(
        None, description="the modality whose test scans decide; null: all of the cohort"
    )
    normalised: bool = Field(
        False,
        description="distances: divided by the largest one that either arm has in any scan of the "
        "task, with any seed, so that every task counts alike",
    )
    better: str = Field(min_length=1, description="the arm that should have the better score")
    worse: str = Field(min_length=1, description="the arm it is compared with")
    test: Literal["wilcoxon", "permutation"] = Field(
        "wilcoxon",
        description="paired test over patients: signed ranks, or the mean under flipped signs",
    )
    over: Literal["patients", "seeds"] = Field(
        "patients",
        description="what the test runs over: patients, averaged over seeds, or seeds, averaged "
        "over patients, as papers that repeat their training do; of n of them and m claims of a "
        "paper no corrected p-value is below m * 2^(1 - n)",
    )

    @model_validator(mode="after")
    def _arms_differ(self) -> Claim:
        if self.better == self.worse:
            raise ValueError(f"better and worse are both {self.better}: compare two arms")
        return self

    @model_validator(mode="after")
    def _distances_are_normalised(self) -> Claim:
        if self.normalised and self.metric == "dice":
            raise ValueError("normalised: of distances only; Dice scores end at 1 anyway")
        return self

    @property
    def measured(self) -> str:
        """What is compared, as claims.csv has it."""
        return f"{self.metric}, normalised" if self.normalised else self.metric

    @property
    def named(self) -> list[str]:
        """The structures that count; none: all."""
        return self.structures


class Superior(Claim):
    """The better arm has the better scores."""

    kind: Literal["superior"] = Field(description="`better` has better scores than `worse`")


class Close(Claim):
    """The worse arm stays within a margin of the better one."""

    kind: Literal["close"] = Field(
        description="`worse` falls short of `better` by less than `margin`"
    )
    margin: float = Field(gt=0, description="the largest shortfall that counts as close")
    margin_reason: str = Field(min_length=1, description="where the margin comes from")


class Similar(Claim):
    """The two arms differ by less than a margin, whichever of them is the better one."""

    kind: Literal["similar"] = Field(
        description="`better` and `worse` differ by less than `margin`, either way"
    )
    margin: float = Field(gt=0, description="the smallest difference that counts as one")
    margin_reason: str = Field(min_length=1, description="where the margin comes from")


class LargerGain(Claim):
    """The gain of the better arm is larger in some structures than in others."""

    kind: Literal["larger_gain"] = Field(
        description="the gain of `better` over `worse` is larger in `structures` than in `others`"
    )
    structures: list[str] = Field(min_length=1, description="where the gain should be larger")
    others: list[str] = Field(min_length=1, description="where it should be smaller")

    @model_validator(mode="after")
    def _structures_differ(self) -> LargerGain:
        both = sorted({*self.structures} & {*self.others})
        if both:
            raise ValueError(f"in structures and in others: {', '.join(both)}; name each once")
        return self

    @property
    def named(self) -> list[str]:
        """Where the gain should be larger, and where smaller."""
        return [*self.structures, *self.others]


class ClaimsFile(Strict):
    """claims.yaml."""

    claims: list[
        Annotated[Superior | Close | Similar | LargerGain, Field(discriminator="kind")]
    ] = Field(description="the paper's comparative sentences")

    @field_validator("claims")
    @classmethod
    def _ids_are_unique(cls, claims: list[Claim]) -> list[Claim]:
        ids = [claim.claim for claim in claims]
        repeated = sorted({name for name in ids if ids.count(name) > 1})
        if repeated:
            raise ValueError(f"claim ids must differ, repeated: {', '.join(repeated)}")
        return claims


def load_claims(path: Path) -> list[Claim]:
    """Read a claims.yaml; InputError naming the file, the key and what is allowed."""
    return list(load_model(path, ClaimsFile).claims)
