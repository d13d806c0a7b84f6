"""What a cohort's file says of its simulated annotators: the protocol of each scan.

Axes are (z, y, x) throughout.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from piecemeal.validation import Name, PositiveInt, Strict


class Complete(Strict):
    """Everything that the data set declares is drawn."""

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


class EveryNthSlice(Strict):
    """Slices of the scan itself at equal distances are drawn (Chen et al. 2024, released code).

    Slice k of `view`, counted from 0 up, back or to the left, is one of them if k > 0 and k mod
    `step` is `offset`; with `step: 1` all are. The scan's own slices count, not the grid's.
    """

    kind: Literal["every_nth_slice"]
    step: PositiveInt = Field(description="from one drawn slice to the next; 1: all are drawn")
    offset: int = Field(0, ge=0, description="first of them; 0 is `step`, as slice 0 is left out")
    view: Literal["axial", "coronal", "sagittal"] = Field(description="how the slices lie")

    @model_validator(mode="after")
    def _below_step(self) -> EveryNthSlice:
        if self.offset >= self.step:
            raise ValueError(f"offset: {self.offset} given, expected less than step, {self.step}")
        return self


class Unlabelled(Strict):
    """Nothing is drawn."""

    kind: Literal["unlabelled"]


Protocol = Annotated[
    Complete | SuperLabel | Partial | SparseSlices | EveryNthSlice | Unlabelled,
    Field(discriminator="kind"),
]


class Dealt(Strict):
    """Patients are dealt out to several protocols, one after the other, in a seeded order."""

    seed: int = Field(description="of the order, which is drawn in each data set and part anew")
    hands: dict[Name, Protocol | None] = Field(
        min_length=2,
        description="name -> protocol of an equal share of the patients; null drops them",
    )


class AnnotationConfig(Strict):
    """What the annotators of a cohort are taken to have said, of its two halves or of each hand."""

    description: str = Field(description="one line for tables and report")
    half1: Protocol | None = Field(None, description="protocol of the first half; null drops it")
    half2: Protocol | None = Field(None, description="protocol of the second half; null drops it")
    dealt: Dealt | None = Field(None, description="more than two protocols, instead of halves")
    datasets: dict[Name, Protocol] = Field(
        {}, description="data sets with a protocol of their own, in place of those of the halves"
    )
    sources: list[Name] | None = Field(
        None,
        min_length=1,
        description="only scans of these data sets train and validate; null: of all of the cohort",
    )
    known: Literal["declared", "present", "all"] = Field(
        "declared",
        description="which structures a voxel without a label is known not to be: those that the "
        "data set declares, only those that occur in the scan or, of `every_nth_slice`, in "
        "the slice (Chen et al. 2024, released code), or all of the cohort (multichannel baseline "
        "of Anand et al. 2024)",
    )
    tasks: list[Name] | None = Field(
        None, min_length=1, description="only scans of these tasks; null: of all of the cohort"
    )

    @model_validator(mode="after")
    def _halves_or_hands(self) -> AnnotationConfig:
        given = {"half1", "half2"} & self.model_fields_set
        if len(given) != (0 if self.dealt else 2):
            raise ValueError("give `half1` and `half2` (null drops one), or `dealt` in their place")
        return self

    @property
    def protocols(self) -> list[Protocol]:
        """The protocol of each half that is not dropped, or hand, and of each data set's own."""
        hands = self.dealt.hands.values() if self.dealt else ()
        given = (self.half1, self.half2, *hands, *self.datasets.values())
        return [protocol for protocol in given if protocol is not None]


def with_ids(protocol: Any, ids: dict[str, int]) -> dict[str, Any] | None:
    """A protocol with class ids in place of the names of structures."""
    if protocol is None:
        return None
    content = protocol.model_dump()
    if "merged" in content:
        content["merged"] = [[ids[s] for s in group] for group in content["merged"]]
    if "annotated" in content:
        content["annotated"] = [ids[s] for s in content["annotated"]]
    return content
