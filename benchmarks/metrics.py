"""How fast the metrics are, beside four other ways to the same numbers.

    make benchmark NAME=metrics

Scores 16 structures in two volumes and three predictions (good: the reference bent by a voxel or
two; fragmented: islands and holes besides; missed: a quarter of the structures is not there) for
Dice, ASSD, HD and HD95. Every contender works on the same arrays in one process, in turns, each as
its documentation says. A contender that would take minutes scores evenly chosen structures for
some seconds, and its time is scaled to all of them (marked *).

Prints how many times longer each takes than `piecemeal` on one thread, the largest difference to
the distance transform in mm, the memory needed beside the two volumes, and whether the targets of
the project are met.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from piecemeal.evaluation.metrics import evaluate

STRUCTURES = list(range(1, 17))
SIZES = {
    "256x256x160": ((160, 256, 256), (2.0, 1.0, 1.0)),
    "512x512x400": ((400, 512, 512), (1.0, 0.8, 0.8)),
    "64x64x40": ((40, 64, 64), (4.0, 4.0, 4.0)),  # only to see that it runs
}
OURS = "piecemeal"
# contender -> prediction -> at least so many times longer than ours
TARGETS = {
    "MONAI": {"good": 100},
    "surface-distance": {"good": 10, "fragmented": 8},
    "SciPy EDT, cropped": {"good": 3, "fragmented": 3, "missed": 3},
}
MOST_BYTES = 2  # a voxel, beside the two volumes

Scores = tuple[float, float, float, float]  # Dice, ASSD, HD, HD95
OneStructure = Callable[[np.ndarray, np.ndarray, tuple[float, ...]], Scores]


# ---- volumes ----


def bent(shape: tuple[int, ...], random: np.random.Generator, size: float) -> list[np.ndarray]:
    """Smooth random displacements along each axis, in voxels of standard deviation `size`."""
    return [
        ndimage.zoom(
            random.normal(scale=size, size=(6, 6, 6)).astype(np.float32),
            [n / 6 for n in shape],
            order=1,
            mode="nearest",
            grid_mode=True,
        )
        for _ in shape
    ]


def body(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Sixteen bent ellipsoids that cover each other in places; uint8."""
    wobble = bent(shape, random, 0.15)[0]
    labels = np.zeros(shape, np.uint8)
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    grid = np.meshgrid(*axes, indexing="ij", sparse=True)
    for structure in STRUCTURES:
        centre, radius = random.uniform(-0.6, 0.6, 3), random.uniform(0.1, 0.35, 3)
        terms = [((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radius, strict=True)]
        labels[sum(terms) + wobble < 1] = structure
    return labels


def good(reference: np.ndarray, random: np.random.Generator) -> np.ndarray:
    grid = np.meshgrid(*map(np.arange, reference.shape), indexing="ij", sparse=True)
    moved = [
        np.clip(np.rint(g + shift), 0, n - 1).astype(np.int32)
        for g, shift, n in zip(
            grid, bent(reference.shape, random, 1.5), reference.shape, strict=True
        )
    ]
    return reference[tuple(moved)]


def fragmented(reference: np.ndarray, random: np.random.Generator) -> np.ndarray:
    prediction = good(reference, random)
    for _ in range(400):
        corner, size = random.integers(0, reference.shape), random.integers(2, 14, 3)
        island = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        prediction[island] = random.integers(0, len(STRUCTURES) + 1)
    prediction[random.random(reference.shape, dtype=np.float32) < 0.02] = 0
    return prediction


def missed(reference: np.ndarray, random: np.random.Generator) -> np.ndarray:
    prediction = good(reference, random)
    prediction[np.isin(prediction, STRUCTURES[::4])] = 0
    return prediction


# ---- contenders, one structure at a time; masks are bool and not empty ----


def by_distance_transform(prediction, reference, spacing) -> Scores:
    overlap = np.count_nonzero(prediction & reference)
    dice = 2 * overlap / (np.count_nonzero(prediction) + np.count_nonzero(reference))
    (box,) = ndimage.find_objects((prediction | reference).view(np.uint8))
    masks = [np.pad(mask[box], 1) for mask in (prediction, reference)]
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
    maps = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    directed = maps[1][edges[0]], maps[0][edges[1]]
    pooled = np.concatenate(directed)
    return dice, pooled.mean(), pooled.max(), max(np.percentile(d, 95) for d in directed)


def by_surface_distance(prediction, reference, spacing) -> Scores:
    import surface_distance as sd

    distances = sd.compute_surface_distances(reference, prediction, spacing)
    return (
        sd.compute_dice_coefficient(reference, prediction),
        float(np.mean(sd.compute_average_surface_distance(distances))),
        sd.compute_robust_hausdorff(distances, 100),
        sd.compute_robust_hausdorff(distances, 95),
    )


def by_monai(prediction, reference, spacing) -> Scores:
    import torch
    from monai import metrics as m

    pair = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    options = {"include_background": True, "spacing": spacing}
    return (
        float(m.compute_dice(*pair)),
        float(m.compute_average_surface_distance(*pair, symmetric=True, **options)),
        float(m.compute_hausdorff_distance(*pair, **options)),
        float(m.compute_hausdorff_distance(*pair, percentile=95, **options)),
    )


def by_medpy(prediction, reference, spacing) -> Scores:
    from medpy.metric import binary

    return (
        binary.dc(prediction, reference),
        binary.assd(prediction, reference, spacing),
        binary.hd(prediction, reference, spacing),
        binary.hd95(prediction, reference, spacing),
    )


PEERS: dict[str, OneStructure] = {
    "SciPy EDT, cropped": by_distance_transform,
    "surface-distance": by_surface_distance,
    "MONAI": by_monai,
    "medpy": by_medpy,
}


# ---- measurement ----


def in_an_order_that_covers(structures: list[int]) -> Iterator[int]:
    """Every structure once, such that the first few are spread over the list."""
    step = 5  # no divisor of 16
    return (structures[i * step % len(structures)] for i in range(len(structures)))


def time_peer(
    peer: OneStructure, prediction, reference, spacing, budget: float
) -> tuple[float, bool, dict[int, Scores]]:
    """Seconds for all structures, whether scaled from some of them, and the scores found."""
    present = [k for k in STRUCTURES if (prediction == k).any() and (reference == k).any()]
    if len(present) % 5 == 0:
        raise ValueError(f"{len(present)} structures: some would be visited twice")
    found, seconds = {}, 0.0
    for k in in_an_order_that_covers(present):
        start = time.perf_counter()
        found[k] = peer(prediction == k, reference == k, spacing)
        seconds += time.perf_counter() - start
        if seconds > budget:
            break
    return seconds * len(present) / len(found), len(found) < len(present), found


def time_ours(prediction, reference, spacing, threads: int) -> tuple[float, pd.DataFrame]:
    start = time.perf_counter()
    rows = evaluate(prediction, reference, STRUCTURES, spacing, threads=threads)
    return time.perf_counter() - start, rows


def extra_memory(prediction, reference, spacing) -> float:
    """Bytes a voxel that `evaluate` needs at its peak; NaN where the system does not say.

    For a process that gives freed blocks back at once (see `memory_of`): else what was freed before
    is used again, and what is freed meanwhile counts on.
    """
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def kilobytes(key: str) -> int:
        (line,) = (line for line in status.read_text().splitlines() if line.startswith(key))
        return int(line.split()[1])

    try:
        reset.write_text("5")
        before = kilobytes("VmRSS")
        evaluate(prediction, reference, STRUCTURES, spacing)
        return (kilobytes("VmHWM") - before) * 1024 / reference.size
    except (OSError, ValueError):
        return float("nan")


def memory_of(size: str) -> list[dict]:
    """`extra_memory` of every pair of a size, measured in a process of its own."""
    command = [sys.executable, __file__, "--memory", size]
    alone = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
    said = subprocess.run(command, env=alone, check=True, capture_output=True, text=True).stdout
    return json.loads(said)


def pairs(size: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, prediction and reference of every pair of a size."""
    shape, _ = SIZES[size]
    reference = body(shape, np.random.default_rng(0))
    for seed, make in enumerate((good, fragmented, missed), start=1):
        yield make.__name__, make(reference, np.random.default_rng(seed)), reference


def compare(size: str, repeats: int, budget: float) -> list[dict]:
    """One row a prediction and contender."""
    _, spacing = SIZES[size]
    rows = []
    for kind, prediction, reference in pairs(size):
        name_of_pair = f"{size}, {kind}"
        times: dict[str, list[float]] = {}
        scaled, found = {}, {}
        for _ in range(repeats):
            for threads, name in ((1, OURS), (2, f"{OURS}, 2 threads")):
                seconds, ours = time_ours(prediction, reference, spacing, threads)
                times.setdefault(name, []).append(seconds)
            for name, peer in PEERS.items():
                seconds, scaled[name], found[name] = time_peer(
                    peer, prediction, reference, spacing, budget / repeats
                )
                times.setdefault(name, []).append(seconds)
            print(f"{name_of_pair}: measured once more", flush=True)
        exact = ours.set_index("label")[["dice", "assd_mm", "hd_mm", "hd95_mm"]]
        error = max(
            np.abs(exact.loc[k].to_numpy() - scores).max()
            for k, scores in found["SciPy EDT, cropped"].items()
        )
        unit = statistics.median(times[OURS])
        for name, measured in times.items():
            rows.append(
                {
                    "size": size,
                    "prediction": kind,
                    "contender": name,
                    "seconds": statistics.median(measured),
                    # Side by side: the ratio of a repeat, not of two medians.
                    "ratio": statistics.median(
                        other / own for other, own in zip(measured, times[OURS], strict=True)
                    ),
                    "scaled": scaled.get(name, False),
                    "error_mm": error if name == OURS else np.nan,
                }
            )
        print(f"{name_of_pair}: {OURS} takes {unit * 1e3:.0f} ms on one thread", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES)[:2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--budget", type=float, default=30, help="seconds a slow contender may use")
    parser.add_argument("--csv", type=Path, help="write the numbers there as well")
    parser.add_argument("--memory", choices=SIZES, help="measure the memory of one size, as JSON")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", module="monai")

    tiny = np.zeros((40, 8, 8), np.uint8)
    tiny[2:5, 2:5, 2:5] = 1
    evaluate(tiny, np.roll(tiny, 30, 0), STRUCTURES, (1, 1, 1))  # compiled, or read from the cache
    if given.memory:
        rows = [
            {"size": given.memory, "prediction": kind, "contender": OURS}
            | {"bytes_a_voxel": extra_memory(prediction, reference, SIZES[given.memory][1])}
            for kind, prediction, reference in pairs(given.memory)
        ]
        print(json.dumps(rows))
        return
    for name, peer in list(PEERS.items()):
        try:
            peer(tiny == 1, tiny == 1, (1.0, 1.0, 1.0))
        except ImportError as error:
            print(f"{name} is left out: {error}; `make benchmark` installs it")
            del PEERS[name]

    rows = [row for size in given.sizes for row in compare(size, given.repeats, given.budget)]
    memory = [row for size in given.sizes for row in memory_of(size)]
    table = pd.DataFrame(rows).merge(pd.DataFrame(memory), how="left")
    report(table, given.csv)


def report(table: pd.DataFrame, csv: Path | None) -> None:
    """Print ratios, accuracy, memory, and what became of the targets."""
    table["shown"] = table["ratio"].map("{:,.1f}".format) + table["scaled"].map(
        {True: "*", False: ""}
    )
    for size, rows in table.groupby("size", sort=False):
        print(f"\n{size}: times as long as {OURS} (* scaled from some structures)")
        print(
            rows.pivot(index="contender", columns="prediction", values="shown")
            .loc[rows["contender"].unique(), rows["prediction"].unique()]
            .to_string()
        )
    ours = table[table["contender"] == OURS]
    print(f"\nLargest difference to the distance transform: {ours['error_mm'].max():.1e} mm")
    most = ours["bytes_a_voxel"].max()
    met = "met" if most < MOST_BYTES else "MISSED"
    print(f"Memory beside the volumes: {most:.2f} bytes a voxel, below {MOST_BYTES} asked: {met}")
    for contender, of_prediction in TARGETS.items():
        for prediction, least in of_prediction.items():
            there = (table["contender"] == contender) & (table["prediction"] == prediction)
            if there.any():
                ratio = table.loc[there, "ratio"].min()
                met = "met" if ratio >= least else "MISSED"
                print(f"{contender}, {prediction}: at least {least} x asked, {ratio:.1f} x: {met}")
    if csv:
        table.drop(columns="shown").to_csv(csv, index=False)


if __name__ == "__main__":
    main()
