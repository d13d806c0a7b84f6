"""Phantoms: each writer leaves random subjects in the official layout of a data set.

A writer is a module of this package with `write(folder, cases, seed, **options) -> None`; data sets
say in their file which one draws them, with what options. What writers share lives in `drawing`.
"""

from types import ModuleType

from piecemeal import registry


def known() -> list[str]:
    """Names of the phantom writers, sorted."""
    return registry.known(__name__)


def load(name: str) -> ModuleType:
    """The writer of this name. Raises InputError that lists the known ones."""
    return registry.load(__name__, name)
