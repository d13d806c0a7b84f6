"""How a cohort's scans become projections, the key `projection` of a file of config/cohorts.

Anand et al. (2024), section 3.1: landmarks are drawn in 3D, volumes rotated and changed in
intensity, and then projected along an axis; each direction of each region is a task of its own. No
number of these changes is published.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from piecemeal.validation import Name, Strict

Degrees = Annotated[float, Field(ge=0, le=45)]
Share = Annotated[float, Field(ge=0, le=1)]


class ViewConfig(Strict):
    """The projection that is a task."""

    dataset: Name = Field(description="whose scans are projected")
    axis: Literal["axial", "coronal", "sagittal"] = Field(description="which slices are summed up")
    part: tuple[Share, Share] = Field(
        (0.0, 1.0),
        description="from where to where along that axis, as shares of the volume from its "
        "lowest, front or right end",
    )

    @model_validator(mode="after")
    def _something(self) -> ViewConfig:
        if self.part[0] >= self.part[1]:
            raise ValueError(f"part: {list(self.part)} is empty; the first share is the smaller")
        return self


class ProjectionConfig(Strict):
    """Every scan becomes one image a view of its data set, with rotated copies for training."""

    value: Literal["mean", "maximum"] = Field(
        "mean", description="of the voxels along the axis, after the intensity window"
    )
    copies: int = Field(ge=0, description="changed ones of every training scan, beside it as it is")
    rotation_deg: tuple[Degrees, Degrees, Degrees] = Field(
        (0.0, 0.0, 0.0), description="largest rotation of a copy about z, y and x"
    )
    gain: float = Field(0.0, ge=0, lt=1, description="largest relative change of contrast")
    offset: float = Field(
        0.0, ge=0, lt=1, description="largest change of brightness, of the width of the window"
    )
    seed: int = Field(description="of the changes")
    needs: Literal["any", "all"] = Field(
        "any", description="which structures of a task a scan must have to be a case of it"
    )
    around_mm: float | None = Field(
        None,
        ge=0,
        description="leave out slices further than this above or below the structures of a task; "
        "null: none",
    )
    views: dict[Name, ViewConfig] = Field(description="task -> its projection")
