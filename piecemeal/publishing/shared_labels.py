"""Which structures of different tasks share a channel of one network, and how large they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from piecemeal.publishing import style

# inches
_COLUMN, _ROW, _LEFT, _TITLE, _APART, _NOTE = 1.05, 0.4, 0.95, 0.3, 0.2, 0.32
_LETTERS = 15  # in a line of a cell
_DEEPEST = 0.75  # opacity of a cell whose structure is all that its task has


class Sharing(NamedTuple):
    """What one network's channels mean.

    cells: {(channel, task): (structure, its mean relative size or None)}; tasks: in the order in
    which the network knows them; grown: channels that were added for a new task.
    """

    cells: Mapping[tuple[int, str], tuple[str, float | None]]
    tasks: Sequence[str]
    channels: int
    grown: int


def sharing_of(record: Mapping[str, Any]) -> Sharing | None:
    """The sharing that a run.json tells under `learned`; None if its method shares nothing."""
    learned, config = record.get("learned", {}), record["config"]
    if not (channels := {int(c): n for c, n in learned.get("channels", {}).items()}):
        return None
    sizes = {int(c): size for c, size in learned.get("relative_sizes", {}).items()}
    cells = {
        (channels[c], task): (style.in_task(config["structures"][c - 1], task), sizes.get(c))
        for task, classes in config["tasks"].items()
        for c in classes
    }
    most = max(channel for channel, _ in cells)
    return Sharing(cells, list(config["tasks"]), most, learned.get("grown", 0))


def sharing_tables(found: Mapping[str, Sharing | None], note: str = "") -> Figure:
    """Draw one table an arm: shared labels down, tasks across, structures in the cells.

    found: {heading of the arm: what it shares}, None for an arm that shares nothing. The deeper a
    cell, the larger the structure in its task; a channel that a task has no structure for is empty.
    """
    rows = [0 if sharing is None else sharing.channels for sharing in found.values()]
    across = max((len(s.tasks) for s in found.values() if s), default=2)
    width = _LEFT + across * _COLUMN + 0.1
    # A line of tasks stands above the rows of a table, and a sentence in place of a table.
    heights = [_TITLE + _ROW * (count + 1) + _APART for count in rows]
    height = sum(heights) + _NOTE
    with style.look():
        figure = style.new_figure(width, height)
        top = height
        for (heading, sharing), count, taken in zip(found.items(), rows, heights, strict=True):
            figure.text(0.1 / width, (top - 0.2) / height, _titled(heading, sharing), weight="bold")
            bottom, tall = top - _TITLE - _ROW * (count + 1), _ROW * (count + 1)
            wide = (_LEFT + across * _COLUMN) / width
            axes = figure.add_axes((0, bottom / height, wide, tall / height))
            axes.set_xlim(-_LEFT / _COLUMN, across)
            axes.set_ylim(count, -1)
            axes.axis("off")
            if sharing is None:
                axes.text(0, -0.5, "shares no channels", va="center", color=style.FAINT)
            else:
                _table(axes, sharing)
            top -= taken
        style.sign(figure, note)
    return figure


def _titled(heading: str, sharing: Sharing | None) -> str:
    if sharing is None or not sharing.grown:
        return heading
    return f"{heading}, {sharing.grown} channel{'s' * (sharing.grown > 1)} added for a new task"


def _table(axes: Axes, sharing: Sharing) -> None:
    for column, task in enumerate(sharing.tasks):
        name = style.wrapped(style.task_title(task), _LETTERS)
        axes.text(column + 0.5, -0.5, name, ha="center", va="center", fontweight="bold")
    for row in range(sharing.channels):
        axes.text(-0.1, row + 0.5, f"channel {row + 1}", ha="right", va="center")
        for column, task in enumerate(sharing.tasks):
            structure, size = sharing.cells.get((row + 1, task), ("", None))
            _cell(axes, column, row, structure, size)


def _cell(axes: Axes, column: int, row: int, structure: str, size: float | None) -> None:
    fill = (*to_rgb(style.PALETTE[0]), _DEEPEST * (size or 0.0) ** 0.5)
    box = Rectangle((column, row), 1, 1, facecolor=fill, edgecolor="#DDDDDD", linewidth=0.6)
    axes.add_patch(box)
    if structure:
        words = style.wrapped(structure, _LETTERS)
        said = words if size is None else f"{words}\n{100 * size:.3g} %"
        axes.text(column + 0.5, row + 0.5, said, ha="center", va="center", fontsize=6.5)
