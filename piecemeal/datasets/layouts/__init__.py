"""Readers of published folder layouts, one file a layout; several data sets may share one.

A layout has

- `EXAMPLE`, one path to expect below its root, for messages (or `example(**options)` where it
  depends on the data set);
- `find_cases(root, bad=None, **options) -> list[CaseFiles]`, sorted by case and phase, which opens
  no volume. A caller that passes a list as `bad` gets the cases whose files do not add up in it
  and the rest returned; without one they raise InputError. `options` are `layout_options` of the
  data set's file in config/datasets, which are checked against the annotations of this signature
  when a plan is made, without an import: types are built-in ones, as YAML reads them, and those
  of `piecemeal.layout_types`;
- `read(case, labels) -> Scan`, with `labels` as in the data set's file. Labels in the Scan are
  those of `scans.label_table(labels)`;
- where a structure without a mask counts as absent, `check_masks(cases, labels, **options) ->
  list[BadCase]`: the cases whose masks are not all there, so that missing is not taken for absent.
"""

from types import ModuleType

from piecemeal import registry


def load(name: str) -> ModuleType:
    """The layout of this name. Raises InputError that lists the known ones."""
    return registry.load(__name__, name)
