"""What every sampler is: windows of cases, drawn by the run's seed, the step and the row.

Nothing else decides a draw: not the number of processes, not what was drawn before. So a run that
goes on after a kill draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from piecemeal.training.cases import Case
from piecemeal.training.window import Draw, Window

Source = tuple[str, str]  # data set, modality


class Sampler:
    """size: rows of every effective batch. at(step): the draws of the whole effective batch."""

    def __init__(self, cases: Sequence[Case], window: Window, batch_size: int, seed: int):
        self.cases, self.window, self.size, self.seed = cases, window, batch_size, seed

    def at(self, step: int) -> list[Draw]:
        """The samples of `step` (from 0), one a row."""
        return [self._draw(row, self._generator(step, row)) for row in range(self.size)]

    def shares(self) -> dict[Source, float]:
        """Expected share of the samples by data set and modality; empty where nobody asks."""
        return {}

    def _generator(self, step: int, row: int) -> np.random.Generator:
        # The last number keeps a row's stream apart from that of an epoch.
        return np.random.default_rng([self.seed, step, row, 1])

    def _draw(self, row: int, rng: np.random.Generator) -> Draw:
        raise NotImplementedError

    def _anywhere(self, case: int, rng: np.random.Generator) -> Draw:
        return Draw(case, self.window.anywhere(self.cases[case].image.shape, rng))

    def _showing(
        self, case: int, wanted: int, rng: np.random.Generator, least: float = 0.0
    ) -> Draw:
        """A window centred on a random voxel of the class; a random slice that shows it.

        Of the background, a voxel without a label, whatever its code. least: share of the plane
        that the class has to exceed, unless it does so in no slice.
        """
        here, places = self.cases[case], self.cases[case].places
        codes = here.empty if wanted == 0 else (here.named[wanted],)
        code = codes[0]
        if len(codes) > 1:
            up_to = np.cumsum(places.counts[list(codes)])
            code = codes[np.searchsorted(up_to, rng.integers(up_to[-1]), side="right")]
        if self.window.is_slice:
            areas = places.areas[code]
            enough = least * here.image[0].size
            voxels = np.flatnonzero(areas > (enough if areas.max() > enough else 0))[:, None]
        else:
            voxels = places.voxels(code)
        return Draw(case, self.window.around(voxels[rng.integers(len(voxels))], rng), wanted)
