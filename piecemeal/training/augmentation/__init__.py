"""Augmentation of whole batches on their own device; options: piecemeal.augmentation_specs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from piecemeal.errors import InputError
from piecemeal.labelsets import MAX_SETS
from piecemeal.training.augmentation import cutmix, intensity, spatial
from piecemeal.training.augmentation.draws import Draws
from piecemeal.training.data import WHOLE, Batch
from piecemeal.training.window import Window


class Augmentation:
    """The operations of a run: spatial ones, then intensities, then CutMix.

    settings: dump of an AugmentationConfig, or empty; seed: of the run. What is done to a sample
    is a function of seed, step, its row in the effective batch and the size of that batch; the
    noise also of the kind of device. Nothing waits for the device.
    window: of the samples, whose patches are to come with `margin` voxels (z, y, x) more on either
    side; views: those that they may have. Without a window, and for slices, there is no margin.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        seed: int,
        window: Window | None = None,
        views: Collection[int] = (WHOLE,),
    ):
        self.seed = seed
        self.settings = {name: s for name, s in settings.items() if s and _ever(name, s)}
        self.margin = (0, 0, 0)
        if window is not None and not window.is_slice:
            self.margin = spatial.margin(self.settings, window.shape, views)

    def partners(self, step: int, size: int) -> np.ndarray | None:
        """The row whose sample every row of the effective batch may get a box of; None: no need."""
        if "cutmix" not in self.settings:
            return None
        return cutmix.partners(self.seed, step, size)

    @torch.no_grad()
    def __call__(self, batch: Batch, step: int, rows: range, size: int) -> Batch:
        """The augmented samples of `rows` of an effective batch of `size`, without their margin.

        `batch` holds these samples and, if there are partners, then those of their partners, in
        the same order. Slices that alone were drawn on stay slices (`views`). The label set tables
        get one more row where a window may be left (padding), and twice as many with CutMix,
        whatever the coins say. Raises InputError if the tables become too long or an operation does
        not fit the windows.
        """
        if not self.settings:
            return batch
        beyond = self.margin[-(batch.codes.ndim - 1) :]
        read = batch.codes.shape[1:]
        space = tuple(size - 2 * more for size, more in zip(read, beyond, strict=True))
        views = batch.views.numpy(force=True).copy()
        self._check(space, batch.sets.shape[1], views)
        images, codes, sets = batch.images.clone(), batch.codes.clone(), batch.sets
        of_sample, needed = np.array(rows), np.ones(len(rows), dtype=bool)
        if (chosen := self.partners(step, size)) is not None:
            partner = chosen[of_sample]
            mixed = Draws(self.seed, step, size, of_sample, needed).of("cutmix")
            hits = mixed.hits(self.settings["cutmix"]["probability"])
            # A partner that is one of the rows is taken from there; only the others are made.
            own = np.isin(partner, of_sample)
            sources = np.where(own, partner - rows.start, len(rows) + np.arange(len(rows)))
            of_sample = np.concatenate([of_sample, partner])
            needed = np.concatenate([needed, hits & ~own])
        draws = Draws(self.seed, step, size, of_sample, needed)
        if spatial.resamples(self.settings):
            sets = torch.cat([sets, torch.zeros_like(sets[:, :1])], dim=1)
        images, codes = spatial.transform(
            images, codes, views, sets.shape[1] - 1, self.settings, draws, beyond
        )
        intensity.transform(images, self.settings, draws)
        if chosen is not None:
            boxes = cutmix.draw_boxes(mixed, self.settings["cutmix"]["alpha"], space)
            sets = cutmix.paste(images, codes, sets, sources, boxes, hits)
        n = len(rows)
        views, shown = torch.from_numpy(views[:n]), batch.shown[:n]
        return replace(
            batch, images=images[:n], codes=codes[:n], sets=sets[:n], views=views, shown=shown
        )

    def _check(self, space: tuple[int, ...], sets: int, views: np.ndarray) -> None:
        if len(space) == 2 and (names := [n for n, s in self.settings.items() if _needs_z(n, s)]):
            raise InputError(
                f"augmentation.{names[0]}: acts along z, but the input is slices; leave z, "
                "tilt_degrees, through_plane and about out, or set input.kind to patches"
            )
        if "rot90" in self.settings and space[-2] != space[-1]:
            raise InputError(
                f"augmentation.rot90: the window's plane has {space[-2]} x {space[-1]} voxels, "
                "expected a square; set input.size to one, or use rotation"
            )
        if "cutmix" in self.settings and (views >= 0).any():
            raise InputError(
                "augmentation.cutmix: boxes cut through the slices that alone were drawn on "
                "(`every_nth_slice`); leave it out, or use another annotation"
            )
        rows = sets + spatial.resamples(self.settings)
        rows *= 2 if "cutmix" in self.settings else 1
        if rows > MAX_SETS:
            raise InputError(
                f"augmentation: label set tables of {rows} rows, expected at most {MAX_SETS}; "
                "leave cutmix out, or rotation and scaling"
            )


def _ever(name: str, options: dict[str, Any]) -> bool:
    """Whether the operation has any probability."""
    return any(options.values()) if name == "flip" else options["probability"] > 0


def _needs_z(name: str, options: dict[str, Any]) -> bool:
    if name == "flip":
        return options["z"] > 0
    through = any(options.get(key) for key in ("through_plane", "tilt_degrees"))
    return through or options.get("about", "z") != "z"
