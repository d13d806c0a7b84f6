"""Readers of published folder layouts, one file a layout.

A layout has `EXAMPLE`, one path to expect below its root; `find_cases(root, bad=None)`, which opens
no volume; and `read(case) -> Scan`. A caller that passes a list as `bad` gets the cases whose files
do not add up in it and the rest returned; without one they raise InputError.
"""

from types import ModuleType

from piecemeal import registry


def load(name: str) -> ModuleType:
    """The layout of this name. Raises InputError that lists the known ones."""
    return registry.load(__name__, name)
