"""What a paper's recipes.yaml may say: settings that arms of different methods share."""

from __future__ import annotations

from pydantic import Field

from piecemeal.augmentation_specs import AugmentationConfig
from piecemeal.training_specs import (
    InferenceConfig,
    Input,
    MethodConfig,
    NetworkConfig,
    OptimiserConfig,
    Sampler,
)
from piecemeal.validation import Name, PositiveInt, Strict


class Recipe(Strict):
    """Settings in place of those of the methods' files, so that arms differ in the method alone."""

    network: NetworkConfig | None = Field(None, description="left out: each method's own")
    optimiser: OptimiserConfig | None = Field(None, description="left out: each method's own")
    batch_size: PositiveInt | None = Field(None, description="left out: each method's own")
    input: Input | None = Field(None, description="left out: each method's own")
    sampler: Sampler | None = Field(None, description="left out: each method's own")
    augmentation: AugmentationConfig | None = Field(
        None, description="left out: each method's own; null: none"
    )
    inference: InferenceConfig | None = Field(None, description="left out: each method's own")

    def applied(self, method: MethodConfig) -> MethodConfig:
        """`method` with these settings; what it learns, and how it is read out, is its own."""
        return method.model_copy(update={key: getattr(self, key) for key in self.model_fields_set})


class RecipesFile(Strict):
    """recipes.yaml, which a paper need not have."""

    recipes: dict[Name, Recipe] = Field(description="name in runs.tsv -> settings")
