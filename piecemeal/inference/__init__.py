"""Predictions of a whole scan, returned to the scan's own space.

Probabilities come plane by plane, from slices or tiles of them (`slices`) or from overlapping
windows (`windows`), and become class ids or bit masks on the scan's own voxels (`resampling`) as
they come: a plane of the scan lies between two of the grid at most, so the probabilities of a whole
scan are never held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from piecemeal.bitmasks import bit
from piecemeal.datasets.store import names_to_ids
from piecemeal.errors import InputError
from piecemeal.inference.passes import ForwardPasses
from piecemeal.inference.reader import Reader
from piecemeal.inference.resampling import ToNative
from piecemeal.inference.slices import slice_planes, tile_planes
from piecemeal.inference.windows import window_planes
from piecemeal.methods._base import Method
from piecemeal.training.window import crop_sides

if TYPE_CHECKING:
    from piecemeal.datasets.store import PreparedScan

__all__ = ["ForwardPasses", "predict", "warm_up"]

SLICES = {"kind": "slices", "neighbours": 0}
OPTIONS = {"overlap": 0.5, "weights": "gaussian", "flips": [], "batch_size": 8}


@torch.inference_mode()
def predict(
    method: Method,
    network: nn.Module | None,
    scan: PreparedScan,
    settings: Mapping[str, Any] | None = None,
    precision: str = "float32",
) -> np.ndarray:
    """Class ids (z, y, x) uint8 on the scan's native grid, in the order of the prepared arrays.

    settings: the run's, of which `input` and `inference` are read (SLICES and OPTIONS where they
    are absent), and `structures`: with them the method is told what the scan is annotated for (see
    `Method.ask`); precision: float32, or bfloat16 or float16 for autocast. Probabilities are
    resampled (linearly) to the native voxels, then the most likely class is taken, as in the code
    that Kemnitz et al. cite (acdc_segmenter); where `resampled` is "labels", it is taken on the
    grid, and native voxels have that of the nearest voxel. Outside the grid is background.
    In a run whose structures overlap (`overlapping`) the result is a bit mask over the structures
    of the scan's task (`bitmasks`; settings["tasks"]), each where its own probability is at least
    0.5. Raises InputError on flips that the input does not allow, and in such a run on a scan of a
    task that it does not know.
    """
    method.ask(_annotated_for(scan, settings))
    bits = _overlapping(scan, settings)
    if network is None:
        device, planes = torch.device("cpu"), _label_planes(method, scan.labels, bits)
    else:
        reader = _reader(method, network, settings, precision)
        device, planes = reader.device, _planes(reader, scan.image, settings)
    nearest = (settings or {}).get("resampled") == "labels"
    return ToNative(scan.geometry, device, nearest)(planes, bits).cpu().numpy()


@torch.inference_mode()
def warm_up(
    method: Method,
    network: nn.Module,
    scan: PreparedScan,
    settings: Mapping[str, Any] | None = None,
    precision: str = "float32",
) -> None:
    """Evaluate one empty slice, tile or window of the size that `scan` asks for (see `predict`)."""
    kind = _input(settings)
    if kind["kind"] == "patches":
        shape = (1, *kind["size"])
    else:
        sides = crop_sides(scan.image.shape[1:], kind.get("crop"))
        shape = (2 * kind["neighbours"] + 1, *sides)
    _reader(method, network, settings, precision)(torch.zeros(1, *shape))


def _annotated_for(scan: PreparedScan, settings: Mapping[str, Any] | None) -> Sequence[int] | None:
    """Class ids of what was drawn wherever it is in the scan; None where nobody knows."""
    structures = (settings or {}).get("structures")
    if structures is None or not (declared := scan.record.get("declared")):
        return None
    return names_to_ids(";".join(declared), structures)


def _overlapping(scan: PreparedScan, settings: Mapping[str, Any] | None) -> Sequence[int]:
    """Class ids of the scan's task, bit by bit, in a run whose structures overlap; else none."""
    if not (settings or {}).get("overlapping", False):
        return ()
    tasks, task = settings["tasks"], scan.record.get("task")
    if task not in tasks:
        raise InputError(
            f"{scan.folder / 'scan.json'}: task is {task!r}, expected one of the run's, "
            f"{list(tasks)}: its structures give the bits of the prediction their meaning; predict "
            "scans of these"
        )
    return tasks[task]


def _input(settings: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return (settings or {}).get("input", SLICES)


def _options(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    return OPTIONS | (settings or {}).get("inference", {})


def _reader(
    method: Method, network: nn.Module, settings: Mapping[str, Any] | None, precision: str
) -> Reader:
    flips = _options(settings)["flips"]
    if _input(settings)["kind"] == "slices" and any(0 in axes for axes in flips):
        raise InputError(
            f"inference.flips: {flips} flips axis 0, z, which a slice does not have; leave 1 (y) "
            "and 2 (x), or set input.kind to patches"
        )
    return Reader(method, network, flips, precision)


def _planes(
    reader: Reader, image: np.ndarray, settings: Mapping[str, Any] | None
) -> Iterator[Tensor]:
    """Probabilities (classes, y, x) of every plane of the grid, in order."""
    kind, options = _input(settings), _options(settings)
    how = (options["overlap"], options["weights"], options["batch_size"])
    if kind["kind"] == "patches":
        return window_planes(reader, image, kind["size"], *how, reader.device)
    if kind.get("crop") is None:
        return slice_planes(reader, image, kind["neighbours"], options["batch_size"])
    sides = crop_sides(image.shape[1:], kind["crop"])
    return tile_planes(reader, image, kind["neighbours"], sides, *how, reader.device)


def _label_planes(method: Method, labels: np.ndarray, bits: Sequence[int]) -> Iterator[Tensor]:
    """Probabilities (classes, y, x) of every plane of `labels`, class ids or bits of classes."""
    for z in range(len(labels)):
        plane = np.asarray(labels[z : z + 1])
        if bits:
            yield torch.from_numpy(_one_by_one(method, plane, bits))
        else:
            yield torch.from_numpy(method.without_network(plane))[:, 0]


def _one_by_one(method: Method, plane: np.ndarray, bits: Sequence[int]) -> np.ndarray:
    """As `without_network` of each structure as if it were alone, so that no other covers it."""
    chances = np.zeros((method.classes, *plane.shape[1:]), np.float32)
    for k, c in enumerate(bits):
        chances[c] = method.without_network(np.where(bit(plane, k), c, 0))[c, 0]
    return chances
