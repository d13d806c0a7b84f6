"""No method of ours: other software has predicted, and its label maps are read from files."""

import numpy as np

from piecemeal.methods._base import Untrained


class Elsewhere(Untrained):
    """Predicts nothing itself; see `piecemeal.label_maps`."""

    def without_network(self, labels: np.ndarray) -> np.ndarray:
        """Never asked for: the predictions are files."""
        raise TypeError("Elsewhere: predictions are label maps in files; nothing predicts here")
