"""Networks, one file each: `build(in_channels, out_channels, **options)` returns the module.

Defaults are the published sizes. A network maps (B, in_channels, *space) to logits
(B, out_channels, *space) of the same space.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from piecemeal import registry
from piecemeal.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def build(name: str, in_channels: int, out_channels: int, **options) -> nn.Module:
    """Build the network `name`; InputError on an unknown name, option or impossible value."""
    module = registry.load(__name__, name)
    allowed = list(inspect.signature(module.build).parameters)[2:]
    if unknown := sorted(set(options) - set(allowed)):
        raise InputError(f"network {name}: unknown options {unknown}; allowed: {allowed}")
    return module.build(in_channels, out_channels, **options)
