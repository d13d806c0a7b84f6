"""What a method's file may say about augmentation: one key an operation, null where it is off.

The operations are those of piecemeal.training.augmentation, done in the order of the keys. Every
sample has its own coin and its own parameters, drawn evenly from the ranges. Degrees, sizes and
sigmas are in voxels of the common grid; intensities are those of the prepared images.

Slices that alone were drawn on (`every_nth_slice`) stay slices: such a patch is turned about the
axis across them and scaled in their plane, whatever else is said here.
Nothing here imports torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from piecemeal.validation import Finite, Positive, Strict


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"expected [lowest, highest], got {list(limits)}")
    return limits


NonNegative = Annotated[Finite, Field(ge=0)]
Range = Annotated[tuple[Finite, Finite], AfterValidator(_ordered)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
Share = Annotated[float, Field(gt=0, le=1)]
ShareRange = Annotated[tuple[Share, Share], AfterValidator(_ordered)]
NonNegativeRange = Annotated[tuple[NonNegative, NonNegative], AfterValidator(_ordered)]
Probability = Annotated[float, Field(ge=0, le=1)]
Axis = Literal["z", "y", "x"]


class Flip(Strict):
    """Mirror along an axis; left and right structures change their names with no one saying so."""

    z: Probability = Field(0.0, description="probability of a flip along z; patches only")
    y: Probability = Field(0.0, description="probability of a flip along y")
    x: Probability = Field(0.0, description="probability of a flip along x")


class Rot90(Strict):
    """Turn in the plane by 90, 180 or 270 degrees, each as likely; square windows only."""

    probability: Probability = Field(
        description="probability of a turn; 0.75 makes the four directions alike"
    )


class Rotation(Strict):
    """Rotate about the window's centre, rigidly in voxels; one resampling with `scaling`."""

    probability: Probability = Field(description="probability for a sample")
    degrees: Range = Field(description="angle in the plane, [lowest, highest]")
    tilt_degrees: Range | None = Field(
        None, description="angles about the other two axes; null: in the plane only; patches only"
    )
    about: Axis = Field("z", description="axis across the plane; y and x: patches only")


class Scaling(Strict):
    """Enlarge about the window's centre; one resampling with `rotation`."""

    probability: Probability = Field(description="probability for a sample")
    factor: PositiveRange = Field(description="enlargement, [lowest, highest]; 2: twice as large")
    through_plane: bool = Field(False, description="along `about` as well; patches only")
    about: Axis = Field("z", description="axis across the plane; y and x: patches only")


class Noise(Strict):
    """Add Gaussian noise."""

    probability: Probability = Field(description="probability for a sample")
    sigma: NonNegativeRange = Field(description="standard deviation, [lowest, highest]")


class Blur(Strict):
    """Convolve with a Gaussian; beyond the window's border nothing has weight."""

    probability: Probability = Field(description="probability for a sample")
    sigma: PositiveRange = Field(description="standard deviation in voxels, [lowest, highest]")
    through_plane: bool = Field(False, description="along z as well; patches only")


class Brightness(Strict):
    """Multiply all intensities, then add to them."""

    probability: Probability = Field(description="probability for a sample")
    factor: NonNegativeRange = Field((1.0, 1.0), description="multiplied by, [lowest, highest]")
    shift: Range = Field((0.0, 0.0), description="added, [lowest, highest]")


class Contrast(Strict):
    """Multiply the distance of every intensity to the sample's mean."""

    probability: Probability = Field(description="probability for a sample")
    factor: NonNegativeRange = Field(description="multiplied by, [lowest, highest]")
    keep_range: bool = Field(
        True, description="cut intensities off at the sample's lowest and highest before"
    )


class LowResolution(Strict):
    """Keep fewer voxels, the nearest ones, and go back to as many as before, linearly."""

    probability: Probability = Field(description="probability for a sample")
    factor: ShareRange = Field(description="share of the voxels of an axis kept, [lowest, highest]")
    through_plane: bool = Field(False, description="along z as well; patches only")


class Gamma(Strict):
    """Raise intensities to a power, the sample's lowest counting as 0 and its highest as 1."""

    probability: Probability = Field(description="probability for a sample")
    exponent: PositiveRange = Field(description="the power, [lowest, highest]")
    inverted: Probability = Field(0.0, description="share of these done on the negative image")
    keep_statistics: bool = Field(
        True, description="bring the sample back to its mean and standard deviation"
    )


class CutMix(Strict):
    """Paste a box of another sample of the batch, with its labels (Yun et al., ICCV 2019)."""

    probability: Probability = Field(description="probability for a sample")
    alpha: Positive = Field(
        1.0, description="1 - the box's share of the window is drawn from Beta(alpha, alpha)"
    )


class AugmentationConfig(Strict):
    """The operations of a run, in the order in which they are done; null: off."""

    flip: Flip | None = Field(None, description="mirroring along axes")
    rot90: Rot90 | None = Field(None, description="quarter turns in the plane")
    rotation: Rotation | None = Field(None, description="rotation by any angle")
    scaling: Scaling | None = Field(None, description="enlarging and shrinking")
    noise: Noise | None = Field(None, description="Gaussian noise")
    blur: Blur | None = Field(None, description="Gaussian blur")
    brightness: Brightness | None = Field(None, description="intensities multiplied and shifted")
    contrast: Contrast | None = Field(None, description="intensities spread about their mean")
    low_resolution: LowResolution | None = Field(None, description="fewer voxels, and back")
    gamma: Gamma | None = Field(None, description="intensities raised to a power")
    cutmix: CutMix | None = Field(None, description="boxes pasted from other samples")
