"""Types of `layout_options` in config/datasets, for the signatures of layouts.

Apart from `layout_options`, which checks them, as what a layout imports is in the hashes of its
data. A wrong value raises ValueError that says what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

__all__ = ["Any", "CaseExpression", "ImagePatterns", "LabelPattern", "Literal", "Mapping", "Split"]

FIELDS = ("case", "number")  # what may stand in braces in a pattern of labels


def _with_one_group(expression: str) -> str:
    try:
        groups = re.compile(expression).groups
    except re.error as error:
        raise ValueError(f"expected a regular expression ({error})") from None
    if groups != 1:
        raise ValueError(
            f"expected a regular expression with one group, has {groups}; what is in the group "
            r"tells cases apart, as in `amos_(\d{4})`"
        )
    return expression


def _with_a_field(pattern: str) -> str:
    if not any(f"{{{field}}}" in pattern for field in FIELDS):
        raise ValueError("expected a pattern with {case} or {number}, as in `labels/{case}.nii.gz`")
    return pattern


Split = Literal["train", "validation", "test"]
CaseExpression = Annotated[str, AfterValidator(_with_one_group)]
ImagePatterns = Annotated[list[str], Field(min_length=1)]
LabelPattern = Annotated[str, AfterValidator(_with_a_field)]
