"""Plug-ins are files: a method, network, layout or phantom is found by its file name alone."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from piecemeal.errors import InputError


def known(package: str) -> list[str]:
    """Names of the plug-in modules of `package`, sorted; nothing of them is imported.

    A package in it is not a plug-in but what plug-ins share.
    """
    path = importlib.import_module(package).__path__
    return sorted(
        m.name for m in pkgutil.iter_modules(path) if not (m.ispkg or m.name.startswith("_"))
    )


def load(package: str, name: str) -> ModuleType:
    """Import the plug-in `name` of `package`; InputError listing the known ones."""
    if name not in (names := known(package)):
        kind = package.rsplit(".", 1)[-1]
        raise InputError(f"{kind}: there is no '{name}'; known: {', '.join(names)}")
    return importlib.import_module(f"{package}.{name}")
