"""Networks, one file each: `build(in_channels, out_channels, **options)` returns the module.

Defaults are the published sizes. A network maps (B, in_channels, *space) to logits
(B, out_channels, *space) of the same space. One that is told its task, such as `dodnet`, maps
images and a task to them, and images alone to the logits of all tasks, (B, tasks * out_channels,
*space).
"""

from __future__ import annotations

import inspect
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from piecemeal import registry
from piecemeal.errors import InputError

if TYPE_CHECKING:
    from torch import nn


def build(name: str, in_channels: int, out_channels: int, **options) -> nn.Module:
    """Build the network `name`, a file of this folder.

    options: those of the file's own `build`, which says what they mean. Raises InputError on an
    unknown name or option, and on a value that is impossible or of another type.
    """
    module = registry.load(__name__, name)
    parameters = inspect.signature(module.build).parameters
    allowed = list(parameters)[2:]
    if unknown := sorted(set(options) - set(allowed)):
        raise InputError(f"network {name}: unknown options {unknown}; allowed: {allowed}")
    for key, value in {"in_channels": in_channels, "out_channels": out_channels}.items():
        if not _fits(value, "int") or value < 1:
            raise InputError(f"network {name}: {key} is {value!r}; expected a whole number from 1")
    for key, value in options.items():
        kind = parameters[key].annotation
        if isinstance(kind, str) and not any(_fits(value, one) for one in kind.split(" | ")):
            raise InputError(f"network {name}: {key} is {value!r}; expected {kind}")
    return module.build(in_channels, out_channels, **options)


def _fits(value: Any, kind: str) -> bool:
    """Whether a value is of the annotated kind; of one not known here, anything is."""
    if kind.startswith("Sequence["):
        whole = isinstance(value, list | tuple)
        return whole and all(_fits(part, kind[len("Sequence[") : -1]) for part in value)
    if kind in ("int", "float"):
        number = isinstance(value, Integral if kind == "int" else Real)
        return number and not isinstance(value, bool)
    known = {"bool": bool, "str": str, "None": type(None)}
    return isinstance(value, known.get(kind, object))
