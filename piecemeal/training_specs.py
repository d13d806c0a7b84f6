"""What a method's file and a scale say about training: input, sampler, optimiser, schedule."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from piecemeal.augmentation_specs import AugmentationConfig
from piecemeal.validation import Name, PositiveInt, Strict


class Slices(Strict):
    """A sample is one slice of a scan."""

    kind: Literal["slices"]
    neighbours: int = Field(
        0, ge=0, le=8, description="slices above and below that are further input channels"
    )


class Patches(Strict):
    """A sample is a 3D window of a scan."""

    kind: Literal["patches"]
    size: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        description="voxels along z, y and x"
    )


Input = Annotated[Slices | Patches, Field(discriminator="kind")]


class Epochs(Strict):
    """Every slice (or case, for patches) once, shuffled, then again."""

    name: Literal["epochs"]


class RandomCases(Strict):
    """A random case, a random place in it."""

    name: Literal["cases"]


class Foreground(Strict):
    """A random case; part of every batch is centred on a random class that the case names."""

    name: Literal["foreground"]
    fraction: float = Field(ge=0, le=1, description="share of the batch that is centred so")


class Hierarchical(Strict):
    """A class, a modality and a data set in the order of the name, then a case, centred so."""

    name: Literal["class_modality_dataset", "modality_dataset_class"]
    background: bool = Field(False, description="whether background counts as a class")


Sampler = Annotated[Epochs | RandomCases | Foreground | Hierarchical, Field(discriminator="name")]


class NetworkConfig(Strict):
    """A network by name with its options; what is not said is the published size."""

    name: Name = Field(description="file in piecemeal/networks")
    options: dict[str, Any] = Field({}, description="keyword arguments of its build()")


class Optimiser(Strict):
    """What all optimisers share: the learning rate, a function of the step alone."""

    learning_rate: float = Field(gt=0, description="after the warm-up")
    warmup_steps: int = Field(0, ge=0, description="first steps, at a reduced rate")
    warmup_factor: float = Field(1.0, gt=0, le=1, description="the reduction in the warm-up")
    weight_decay: float = Field(0.0, ge=0, description="weight decay")
    clip_norm: float | None = Field(
        None, gt=0, description="largest norm of the gradient over all parameters; null: any"
    )


class Adam(Optimiser):
    """Adam, or AdamW with decoupled weight decay."""

    name: Literal["adam", "adamw"] = Field(description="optimiser")


class Sgd(Optimiser):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = Field(description="optimiser")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum")
    nesterov: bool = Field(False, description="Nesterov's momentum")


OptimiserConfig = Annotated[Adam | Sgd, Field(discriminator="name")]


class InferenceConfig(Strict):
    """How a scan is predicted from slices or windows."""

    batch_size: PositiveInt = Field(8, description="slices or windows at a time")
    overlap: float = Field(0.5, ge=0, lt=1, description="share that neighbouring windows share")
    weights: Literal["uniform", "gaussian"] = Field(
        "gaussian", description="how much a voxel of a window counts, by its place in it"
    )
    flips: list[list[Annotated[int, Field(ge=0, le=2)]]] = Field(
        [], description="sets of axes (z, y, x) that are flipped, each for one more prediction"
    )


class MethodConfig(Strict):
    """One method at its published settings."""

    title: str = Field(description="name in figures")
    implementation: Name = Field(description="file in piecemeal/methods")
    citation: str = Field("", description="paper the settings come from")
    options: dict[str, Any] = Field({}, description="keyword arguments of the implementation")
    network: NetworkConfig | None = Field(None, description="null for methods without a network")
    optimiser: OptimiserConfig | None = Field(None, description="null for untrained methods")
    batch_size: PositiveInt | None = Field(None, description="samples a step, over all devices")
    input: Input = Field(Slices(kind="slices"), description="what one sample is")
    sampler: Sampler = Field(Epochs(name="epochs"), description="which samples a step sees")
    augmentation: AugmentationConfig | None = Field(
        None, description="random changes of the samples; null: none"
    )
    inference: InferenceConfig = InferenceConfig()

    @model_validator(mode="after")
    def _all_or_none(self) -> MethodConfig:
        if len({part is None for part in (self.network, self.optimiser, self.batch_size)}) > 1:
            raise ValueError("network, optimiser and batch_size: give all three, or none of them")
        return self


class TrainingConfig(Strict):
    """How long a run trains and how it is watched."""

    steps: PositiveInt | None = Field(None, description="optimisation steps at most")
    samples: PositiveInt | None = Field(
        None,
        description="samples to train on at most, instead of steps (which validations still count)",
    )
    validate_every: PositiveInt = Field(description="steps between two validations")
    decay: Literal["none", "cosine", "polynomial", "warm_restarts"] = Field(
        "none", description="how the learning rate falls to zero over the steps"
    )
    restarts: PositiveInt | None = Field(
        None, description="of warm_restarts: how often the cosine is gone through"
    )
    patience: PositiveInt | None = Field(
        None, description="validations without a better loss before the run stops; null: never"
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 autocast where this machine gains from it"
    )
    compile: bool = Field(
        False, description="torch.compile; pays for itself in runs of many minutes only"
    )
    checkpoint_seconds: float = Field(60, ge=0, description="time between two checkpoints")

    @model_validator(mode="after")
    def _one_length(self) -> TrainingConfig:
        if (self.steps is None) == (self.samples is None):
            raise ValueError("give `steps` or `samples`, one of them")
        if (self.decay == "warm_restarts") != (self.restarts is not None):
            raise ValueError("`restarts` and `decay: warm_restarts` go together")
        return self

    def plan(self, batch_size: int | None) -> dict[str, Any]:
        """The settings of one run: `samples` as the steps that take so many of this batch size."""
        settings = self.model_dump(exclude={"samples"})
        if self.samples is not None:
            settings["steps"] = math.ceil(self.samples / (batch_size or 1))
        return settings
