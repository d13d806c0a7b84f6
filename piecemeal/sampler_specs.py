"""What a method's file may say about which samples a step sees (`training.sampling` draws them)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from piecemeal.validation import Positive, PositiveInt, Strict


class Epochs(Strict):
    """Every slice (or case, for patches) once, shuffled, then again."""

    name: Literal["epochs"]


class RandomCases(Strict):
    """A random case, a random place in it."""

    name: Literal["cases"]


class Tasks(Strict):
    """A random task of the cohort, then a random slice (or case) of it."""

    name: Literal["tasks"]
    whole_batches: bool = Field(False, description="true: a batch is of one task, drawn anew")


class Foreground(Strict):
    """A random case; part of every batch is centred on a random class that the case names."""

    name: Literal["foreground"]
    fraction: float = Field(ge=0, le=1, description="share of the batch that is centred so")
    by_chance: bool = Field(
        False,
        description="true: every sample is centred so with this probability; false: a fixed number "
        "of each batch",
    )


class Hierarchical(Strict):
    """A class, a modality and a data set in the order of the name, then a case, centred so."""

    name: Literal["class_modality_dataset", "modality_dataset_class"]
    background: bool = Field(False, description="whether background counts as a class")
    temperature: Positive | None = Field(
        None, description="modalities of n scans by n^(1/temperature); null: all alike"
    )


class Hybrid(Hierarchical):
    """Half of the batch from whole scans, half from scans drawn in slices, each by class first."""

    name: Literal["hybrid"]


class Alternating(Strict):
    """Data sets take turns, a batch each; labelled rows show a structure of their case."""

    name: Literal["alternating"]
    unlabelled: float = Field(
        0.0, ge=0, lt=1, description="share of the batch from cases of which nothing is known"
    )
    middle: PositiveInt | None = Field(
        None, description="slices around their middle that these are from; null: from anywhere"
    )
    least: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(
        {}, description="structure -> share of the plane that it covers at least in labelled slices"
    )


Sampler = Annotated[
    Epochs | RandomCases | Tasks | Foreground | Alternating | Hierarchical | Hybrid,
    Field(discriminator="name"),
]
