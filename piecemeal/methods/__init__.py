"""Methods, one file each: what a label set becomes in the loss, and how a prediction is read out.

A method file defines one subclass of `Method` (`piecemeal.methods._base`). It never owns the
training loop, the loader or the metric.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from piecemeal import registry
from piecemeal.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from piecemeal.methods._base import Method


def load(implementation: str, classes: int, options: dict[str, Any] | None = None) -> Method:
    """The method in `methods/<implementation>.py` for `classes` classes, background included."""
    from piecemeal.methods._base import Method

    module = registry.load(__name__, implementation)
    found = [
        c
        for c in vars(module).values()
        if inspect.isclass(c) and issubclass(c, Method) and c.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise InputError(
            f"piecemeal/methods/{implementation}.py: subclasses of Method are "
            f"{[c.__name__ for c in found]}, expected one; what methods share has its place in a "
            "file whose name starts with an underscore"
        )
    (method,) = found
    if inspect.isabstract(method):
        raise InputError(
            f"piecemeal/methods/{implementation}.py: {method.__name__} has to define "
            f"{', '.join(sorted(method.__abstractmethods__))}, as Method in methods/_base.py says"
        )
    allowed = [p for p in inspect.signature(method).parameters if p != "classes"]
    if unknown := sorted(set(options or {}) - set(allowed)):
        raise InputError(f"method {implementation}: unknown options {unknown}; allowed: {allowed}")
    return method(classes, **(options or {}))


def build_network(settings: dict[str, Any], method: Method, channels: int) -> nn.Module:
    """What a run trains: the network of its `settings` as `method` wants it, for images of so many
    channels."""
    from piecemeal import networks

    options = settings["network_options"]

    def network(out: int, **told: Any) -> nn.Module:
        if twice := sorted(set(options) & set(told)):
            raise InputError(
                f"network.options in the method's file give {twice}, expected them from the "
                f"method {settings['implementation']} itself; leave them out"
            )
        return networks.build(settings["network"], channels, out, **options, **told)

    return method.build(network)
