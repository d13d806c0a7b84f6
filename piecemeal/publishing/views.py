"""What a method that learns from its own predictions sees of a slice: one row a data set.

UniMOS (Li et al. 2023, section III-C) predicts a weak view of an unlabelled slice, takes what it is
sure of for labels, and learns to say the same of strong views, into which a box of another slice
may be pasted together with that slice's labels.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from piecemeal.annotations import partial
from piecemeal.datasets.store import PreparedScan, names_to_ids
from piecemeal.errors import InputError
from piecemeal.publishing import style
from piecemeal.publishing.chosen import largest_slice, masks_of
from piecemeal.publishing.examples import slice_dice
from piecemeal.publishing.trained import Trained

if TYPE_CHECKING:  # what publishes is imported without torch
    from torch import Tensor

    from piecemeal.methods._base import Method

HEADINGS = [
    *("weak view", "strong view 1", "strong view 2"),
    *("confidence", "pseudo-label", "targets of stream 1"),
]
BOX, SURE = style.PALETTE[6], style.PALETTE[5]
GREY = "#9A9A9A"  # not accepted
TRIES = 100  # an image is cut by 1 of 2
# inches
_PANEL, _GAP, _LEFT, _TITLE, _UNDER, _LEGEND, _NOTE = 1.55, 0.07, 0.62, 0.25, 0.22, 0.42, 0.24
# The axes already have the true proportions, and an svg holds the pixels as they are.
_AS_IS = {"aspect": "auto", "interpolation": "none"}


@dataclass(frozen=True)
class Look:
    """One slice in the eyes of the method; arrays (y, x), those of both strong views (2, y, x).

    weak, strong: intensities; boxes: bool, what was pasted; confidence: of the weak view's
    pseudo-label, from `lowest` to 1; pseudo: its class ids, 0 where it is none of the structures
    that are drawn in the data set; targets: class ids that strong view 1 is held to; accepted:
    bool, where it is; reference: class ids as drawn; shown: which slice of which scan.
    """

    title: str
    shown: str
    weak: np.ndarray
    strong: np.ndarray
    boxes: np.ndarray
    confidence: np.ndarray
    lowest: float
    threshold: float
    pseudo: np.ndarray
    targets: np.ndarray
    accepted: np.ndarray
    reference: np.ndarray
    declared: Sequence[int]
    spacing_yx: tuple[float, float]

    @property
    def proportion(self) -> float:
        """Height over width, in millimetres."""
        (rows, columns), (y, x) = self.weak.shape, self.spacing_yx
        return rows * y / (columns * x)

    @property
    def under(self) -> list[str]:
        """What stands below each of the pictures."""
        shares = [box.mean() for box in self.boxes]
        pasted = [f"{share:.0%} pasted" if share else "nothing pasted" for share in shares]
        sure = (self.confidence >= self.threshold).mean()
        masks = (masks_of(x, self.declared, False) for x in (self.pseudo, self.reference))
        dice = slice_dice(*masks, range(len(self.declared)))
        return [
            *(self.shown, *pasted),
            *(f"{sure:.0%} accepted", f"Dice {dice:.3f}", f"{self.accepted.mean():.0%} accepted"),
        ]


def look_at(
    trained: Trained, title: str, scan: PreparedScan, partner: PreparedScan, first_seed: int = 0
) -> Look:
    """What the method and its network see of the slice of a scan that shows most.

    The middle of the slice, of the size of a training sample; boxes are from `partner`. Of the
    seeds from `first_seed` on the first is taken that pastes anything into strong view 1. The table
    of label sets is that of the data set: each structure that was drawn, and all else. Raises
    InputError if the method makes no views.
    """
    import torch

    method, declared = trained.method, scan.record["declared"]
    if not all(callable(getattr(method, part, None)) for part in ("views", "targets", "threshold")):
        raise InputError(
            f"config/papers: a figure of kind 'views' shows '{trained.settings['method']}', whose "
            f"method '{trained.settings['implementation']}' makes none; name another arm"
        )
    ids = names_to_ids(";".join(declared), trained.settings["structures"])
    sets = partial(np.zeros(1, np.uint8), ids, trained.settings["classes"]).sets
    (weak, reference, z), (other, *_) = (_middle(trained, one) for one in (scan, partner))
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        images = torch.from_numpy(np.stack([weak, other]))
        views = _views_with_a_box(method, images, first_seed)
        tables = torch.from_numpy(np.stack([sets, sets]))
        own, first, *_ = method.targets(trained.network(images), tables, views)
        threshold = method.threshold(1.0)
    middle = trained.neighbours  # of the channels
    return Look(
        title=title,
        shown=f"{scan.folder.name}, slice {z + 1}",
        weak=weak[middle],
        strong=np.stack([strong[0, middle].numpy() for strong in views.strong]),
        boxes=np.stack([box[0].numpy() for box in views.boxes]),
        confidence=own.confidence[0].numpy(),
        lowest=1 / len(sets),
        threshold=threshold,
        pseudo=_class_ids(own),
        targets=_class_ids(first),
        accepted=(first.confidence[0] >= threshold).numpy(),
        reference=reference,
        declared=ids,
        spacing_yx=scan.geometry.grid_spacing[1:],
    )


def _views_with_a_box(method: Method, images: Tensor, first_seed: int) -> Any:
    """The method's views of images (B, channels, h, w) with a box in the first of the first."""
    import torch

    for seed in range(TRIES):
        torch.manual_seed(first_seed + seed)
        views = method.views(images)
        if views.boxes[0][0].any():
            break
    return views


def _middle(trained: Trained, scan: PreparedScan) -> tuple[np.ndarray, np.ndarray, int]:
    """The slice of the grid that shows most: its middle with its neighbours (channels, h, w), the
    labels there, and its number."""
    from piecemeal.inference.slices import stacked
    from piecemeal.training.window import crop_sides

    z = largest_slice(np.asarray(scan.labels))
    image, plane = stacked(scan.image, np.array([z]), trained.neighbours)[0], scan.image.shape[1:]
    sides = crop_sides(plane, trained.settings["input"].get("crop"))
    starts = [(have - side) // 2 for have, side in zip(plane, sides, strict=True)]
    place = tuple(slice(s, s + side) for s, side in zip(starts, sides, strict=True))
    return image[:, *place], np.asarray(scan.labels[z])[place], z


def _class_ids(targets: Any) -> np.ndarray:
    """Class ids (y, x) of the first image's targets, 0 where the label set is no single class."""
    sets = targets.sets[0].numpy()
    return (sets.argmax(axis=1) * (sets.sum(axis=1) == 1))[targets.codes[0].numpy()]


def view_rows(looks: Sequence[Look], structures: Sequence[str], note: str = "") -> Figure:
    """Draw one row a look: its views, what the network makes of the weak one, and the targets.

    Class 1 is the first of `structures`. Outlined: the pasted boxes in the strong views, what is
    accepted in the map of confidence, the box again in the targets. Grey: not accepted.
    """
    colour = style.colours(structures)
    heights = [_PANEL * look.proportion for look in looks]
    width = _LEFT + len(HEADINGS) * (_PANEL + _GAP)
    height = _TITLE + sum(heights) + len(looks) * _UNDER + _LEGEND + _NOTE
    with style.look():
        figure = style.new_figure(width, height)
        top = height - _TITLE
        for number, (look, tall) in enumerate(zip(looks, heights, strict=True)):
            bottom = top - tall
            heading = textwrap.fill(look.title, 22)
            middle = (bottom + tall / 2) / height
            figure.text(
                *(0.06 / width, middle, heading),
                **{"rotation": 90, "va": "center", "ha": "left", "multialignment": "center"},
                **{"fontweight": "bold", "fontsize": 7},
            )
            for column, (under, name) in enumerate(zip(look.under, HEADINGS, strict=True)):
                left = _LEFT + column * (_PANEL + _GAP)
                box = (left / width, bottom / height, _PANEL / width, tall / height)
                _draw(figure.add_axes(box), look, name, list(colour.values()))
                centre = (left + _PANEL / 2) / width
                figure.text(centre, (bottom - 0.04) / height, under, ha="center", va="top", size=7)
                if number == 0:
                    above = (top + 0.07) / height
                    figure.text(centre, above, name, ha="center", fontweight="bold")
            top = bottom - _UNDER
        _legend(figure, colour, min(look.lowest for look in looks))
        style.sign(figure, note)
    return figure


def _draw(axes: Axes, look: Look, name: str, colours: list[str]) -> None:
    """The picture under the heading `name`."""
    style.bare(axes)
    if name == "confidence":
        axes.imshow(look.confidence, cmap="magma", vmin=look.lowest, vmax=1, **_AS_IS)
        _outline(axes, look.confidence >= look.threshold, SURE)
        return
    stream = int(name == "strong view 2")
    image = look.strong[stream] if name not in ("weak view", "pseudo-label") else look.weak
    low, high = np.percentile(np.stack([look.weak, *look.strong]), [1, 99])
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), **_AS_IS)
    if name == "pseudo-label":
        _overlay(axes, look.pseudo, colours)
    if name == "targets of stream 1":
        _overlay(axes, look.targets * look.accepted, colours, ~look.accepted)
    if "stream" in name or "strong" in name:
        _rectangle(axes, look.boxes[stream])


def _overlay(
    axes: Axes, labels: np.ndarray, colours: list[str], hidden: np.ndarray | None = None
) -> None:
    overlay = np.zeros((*labels.shape, 4))
    for label, colour in enumerate(colours, start=1):
        overlay[labels == label] = (*to_rgb(colour), 0.55)
        _outline(axes, labels == label, colour)
    if hidden is not None:
        overlay[hidden] = (*to_rgb(GREY), 0.85)
    axes.imshow(overlay, **_AS_IS)


def _outline(axes: Axes, mask: np.ndarray, colour: str, size: float = 0.7) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=size)


def _rectangle(axes: Axes, box: np.ndarray) -> None:
    if box.any():
        (y, *_, y_end), (x, *_, x_end) = (np.flatnonzero(box.any(axis=a)) for a in (1, 0))
        sides = (x_end - x + 1, y_end - y + 1)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), *sides, fill=False, edgecolor=BOX, lw=1.3))


def _legend(figure: Figure, colour: Mapping[str, str], lowest: float) -> None:
    """What the colours mean, left, and the scale of the confidence under its column."""
    width, height = figure.get_size_inches()
    handles = [Patch(color=c, label=name) for name, c in colour.items()]
    handles += [
        Patch(color=GREY, label="not accepted"),
        Line2D([], [], color=BOX, linewidth=1.6, label="pasted box"),
        Line2D([], [], color=SURE, linewidth=1.2, label="accepted"),
    ]
    middle = (_NOTE + 0.6 * _LEGEND) / height
    figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(_LEFT / width, middle),
        ncols=len(handles),
        handlelength=0.9,
        handleheight=0.9,
        columnspacing=1.2,
        borderpad=0,
        borderaxespad=0,
    )
    left = _LEFT + HEADINGS.index("confidence") * (_PANEL + _GAP)
    place = (left / width, middle, _PANEL / width, 0.08 / height)
    scale = ScalarMappable(Normalize(lowest, 1), mpl.colormaps["magma"])
    figure.colorbar(scale, cax=figure.add_axes(place), orientation="horizontal")
