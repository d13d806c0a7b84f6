"""What a method's file and a scale say about training: input, sampler, optimiser, schedule."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from piecemeal.augmentation_specs import AugmentationConfig
from piecemeal.sampler_specs import Epochs, Sampler
from piecemeal.validation import Name, PositiveInt, Strict


class Slices(Strict):
    """A sample is one slice of a scan."""

    kind: Literal["slices"]
    neighbours: int = Field(
        0, ge=0, le=8, description="slices above and below that are further input channels"
    )
    crop: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of the slice's sides that a training sample shows, at a random place; "
        "predicted in tiles of that size; null: whole slices",
    )


class Patches(Strict):
    """A sample is a 3D window of a scan."""

    kind: Literal["patches"]
    size: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        description="voxels along z, y and x"
    )


Input = Annotated[Slices | Patches, Field(discriminator="kind")]


class NetworkConfig(Strict):
    """A network by name with its options; what is not said is the published size."""

    name: Name = Field(description="file in piecemeal/networks")
    options: dict[str, Any] = Field({}, description="keyword arguments of its build()")


class Plain(Strict):
    """No decay, or one that the steps alone decide: both end at zero."""

    kind: Literal["none", "cosine"]


class Polynomial(Strict):
    """(1 - share of the steps) to a power; nnU-Net's is 0.9 (Isensee et al., Nat Methods 2021)."""

    kind: Literal["polynomial"]
    power: float = Field(0.9, gt=0, description="the power")


class WarmRestarts(Strict):
    """The cosine again and again (Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5)."""

    kind: Literal["warm_restarts"]
    restarts: PositiveInt = Field(description="how often the cosine is gone through")


class Staircase(Strict):
    """Multiplied by a factor at the beginning of equal parts of the training."""

    kind: Literal["staircase"]
    factor: float = Field(gt=0, lt=1, description="what it is multiplied by, each time")
    times: float = Field(gt=0, description="parts of the training")
    at_start: bool = Field(False, description="whether the first part is reduced already")


def _by_name(value: Any) -> Any:
    """A word is a decay without options."""
    return {"kind": value} if isinstance(value, str) else value


Decay = Annotated[
    Annotated[Plain | Polynomial | WarmRestarts | Staircase, Field(discriminator="kind")],
    BeforeValidator(_by_name),
]


class Optimiser(Strict):
    """What all optimisers share: the learning rate, a function of the step alone."""

    learning_rate: float = Field(gt=0, description="after the warm-up")
    warmup_steps: int = Field(0, ge=0, description="first steps, at a reduced rate")
    warmup_factor: float = Field(1.0, gt=0, le=1, description="the reduction in the warm-up")
    decay: Decay = Field(Plain(kind="none"), description="how the learning rate falls")
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


class RmsProp(Optimiser):
    """RMSprop (Hinton's lecture 6e), with torch's smoothing of 0.99."""

    name: Literal["rmsprop"] = Field(description="optimiser")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum")


OptimiserConfig = Annotated[Adam | Sgd | RmsProp, Field(discriminator="name")]


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
    one_pass: bool = Field(
        True,
        description="networks that are told their task: one pass of the backbone for all tasks; "
        "false: one for each, as published",
    )


class MethodConfig(Strict):
    """One method at its published settings."""

    title: str = Field(description="name in figures")
    implementation: Name = Field(description="file in piecemeal/methods")
    citation: str = Field("", description="paper the settings come from")
    options: dict[str, Any] = Field({}, description="keyword arguments of the implementation")
    told_tasks: bool = Field(
        False,
        description="whether the implementation is told the tasks of the cohort, or where it has "
        "none, that every structure is one",
    )
    network: NetworkConfig | None = Field(None, description="null for methods without a network")
    optimiser: OptimiserConfig | None = Field(None, description="null for untrained methods")
    batch_size: PositiveInt | None = Field(None, description="samples a step, over all devices")
    input: Input = Field(Slices(kind="slices"), description="what one sample is")
    sampler: Sampler = Field(Epochs(name="epochs"), description="which samples a step sees")
    augmentation: AugmentationConfig | None = Field(
        None, description="random changes of the samples; null: none"
    )
    inference: InferenceConfig = InferenceConfig()
    label_maps: str | None = Field(
        None, description="folder of predictions by other software; {seed} in it: one for each seed"
    )

    @model_validator(mode="after")
    def _all_or_none(self) -> MethodConfig:
        if len({part is None for part in (self.network, self.optimiser, self.batch_size)}) > 1:
            raise ValueError("network, optimiser and batch_size: give all three, or none of them")
        if (self.label_maps is not None) != (self.implementation == "elsewhere"):
            raise ValueError("label_maps: goes with `implementation: elsewhere`, and that with it")
        return self


class TrainingConfig(Strict):
    """How long a run trains and how it is watched."""

    steps: PositiveInt | None = Field(None, description="optimisation steps at most")
    samples: PositiveInt | None = Field(
        None,
        description="labelled samples to train on at most, instead of steps; unlabelled ones come "
        "on top",
    )
    validate_every: PositiveInt = Field(
        description="steps between two validations; where `samples` is given, labelled samples"
    )
    decay: Decay | None = Field(
        None, description="how the learning rate falls; null: as each method's file says"
    )
    optimiser: OptimiserConfig | None = Field(
        None, description="instead of each method's, but for the decay; null: theirs"
    )
    batch_size: PositiveInt | None = Field(
        None, description="samples a step, instead of each method's; null: theirs"
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
        return self

    def plan(self, method: MethodConfig, longer: float = 1.0) -> dict[str, Any]:
        """The settings of one run of `method`, which trains `longer` times as long as others.

        `samples` become the steps that take so many labelled ones, and `validate_every` with them,
        so that weights are chosen from as many validations whatever the batch. Training longer adds
        steps and validations, none further apart than the others'. The decay is the method's own
        where the scale has none.
        """
        settings = self.model_dump(exclude={"samples", "optimiser", "batch_size"})
        if self.samples is not None:
            rows = self.batch_size or method.batch_size or 1
            labelled = rows - math.floor(rows * getattr(method.sampler, "unlabelled", 0) + 1e-6)
            settings["steps"] = math.ceil(self.samples / max(1, labelled))
            # Rounded up, as the last step is validated too: no method is looked at once more.
            looks = max(1, round(self.samples / self.validate_every))
            settings["validate_every"] = math.ceil(settings["steps"] / looks)
        settings["steps"] = math.ceil(settings["steps"] * longer)
        if self.decay is None:
            decay = method.optimiser.decay if method.optimiser else Plain(kind="none")
            settings["decay"] = decay.model_dump()
        return settings
