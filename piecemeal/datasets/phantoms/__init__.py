"""Phantoms: one writer a layout, each leaving random subjects in that layout's own files.

A writer is a module of this package with
`write(folder, cases, seed, **options) -> None`; what writers share lives in `drawing`.
"""

import importlib
import pkgutil
from types import ModuleType

from piecemeal.errors import InputError


def known() -> list[str]:
    """Names of the layouts that have a phantom writer, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def load(name: str) -> ModuleType:
    """Return the writer module of layout `name`; InputError names the writers there are."""
    if name not in known():
        raise InputError(
            f"phantom layout {name!r}: expected one of {', '.join(known())}; "
            "choose one of these, or use the real data as source"
        )
    return importlib.import_module(f"{__name__}.{name}")
