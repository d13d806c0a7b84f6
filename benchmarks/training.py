"""How fast the training loop is, beside a plain loop on data in memory and beside MONAI's loader.

    make benchmark NAME=training

All contenders train the same network on batches of the same size, in the same number format, one
after the other in turns:

- floor: a hand-written PyTorch loop (forward, cross-entropy, backward, optimiser) on one batch that
  is already on the device: no reading, no augmentation, no label sets;
- piecemeal: the loop of every run: samples read from the store, augmented, label sets, history;
- MONAI: the plain loop fed by CacheDataset (everything in memory) with the same augmentations as
  dictionary transforms and its DataLoader.

Prints samples/s, ours as a share of the floor and as a multiple of MONAI's, and whether the targets
of the project are met; and what both ways deliver if nobody trains on it, which is what a loop can
reach at most when the network is fast. On a GPU the sizes are those of real runs, and the share of
the measured peak of matrix multiplication is stated.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import networks
from piecemeal.augmentation_specs import AugmentationConfig
from piecemeal.datasets.annotate import annotate
from piecemeal.datasets.case_table import write_cases
from piecemeal.datasets.prepare import COLUMNS
from piecemeal.plan import Planner
from piecemeal.training import runtime
from piecemeal.training.augmentation import Augmentation
from piecemeal.training.cases import load_cases
from piecemeal.training.data import Samples, StepBatches, loader
from piecemeal.training.loop import Training
from piecemeal.training.sampling import build_sampler
from piecemeal.training.window import Window

CLASSES = 4
STRUCTURES = [str(label) for label in range(1, CLASSES)]
OF_FLOOR, OF_MONAI = 0.9, 1.5
WARM_UP = 4  # steps that are not timed
# As nnU-Net's in kind and probability, and what MONAI's transforms below do.
AUGMENTATION = AugmentationConfig.model_validate(
    {
        "flip": {"y": 0.5, "x": 0.5},
        "rotation": {"probability": 0.2, "degrees": [-15, 15]},
        "scaling": {"probability": 0.2, "factor": [0.85, 1.15]},
        "noise": {"probability": 0.1, "sigma": [0.0, 0.1]},
    }
).model_dump()


class Problem(NamedTuple):
    """What is trained: a name, the shape of a sample, of the volumes, the batch and the network."""

    name: str
    space: tuple[int, ...]
    volume: tuple[int, int, int]
    batch: int
    network: nn.Module
    steps: int


def unet(dimensions: int, width: int) -> nn.Module:
    """A plain U-Net of MONAI, instance norm; built alike for every contender."""
    from monai.networks.nets import BasicUNet

    torch.manual_seed(0)
    widths = tuple(width * n for n in (1, 2, 4, 8, 16, 1))
    return BasicUNet(dimensions, 1, CLASSES, features=widths)


def problems(device: torch.device, steps: int) -> list[Problem]:
    if device.type == "cuda":
        return [
            Problem("2D 256x256, batch 12", (256, 256), (48, 256, 256), 12, unet(2, 32), steps),
            Problem("3D 112x112x112, batch 2", (112,) * 3, (128, 160, 160), 2, unet(3, 32), steps),
        ]
    return [
        Problem(
            "2D 64x64, batch 12, as at scale demo", (64,) * 2, (24, 64, 64), 12, unet(2, 8), steps
        ),
        Problem("2D 128x128, batch 8", (128, 128), (24, 128, 128), 8, unet(2, 16), steps),
        Problem("3D 48x48x48, batch 2", (48,) * 3, (64, 80, 80), 2, unet(3, 8), steps),
    ]


# ---- data ----


def make_store(folder: Path, volume: tuple[int, int, int]) -> tuple[Path, Path]:
    """Eight scans of blobs in noise, prepared and annotated as the workflow leaves them."""
    prepared, annotated = folder / "prepared", folder / "annotated"
    rows = []
    for number in range(8):
        random = np.random.default_rng(number)
        grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in volume], indexing="ij", sparse=True)
        labels = np.zeros(volume, np.uint8)
        for structure in range(1, CLASSES):
            centre = random.uniform(-0.5, 0.5, 3)
            labels[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) < 0.15] = structure
        image = (labels + random.normal(0, 0.5, volume)).astype(np.float32)
        scan = prepared / "blobs" / f"scan{number}"
        scan.mkdir(parents=True)
        for name, array in (("image", image), ("labels", labels), ("reference", labels)):
            np.save(scan / f"{name}.npy", array)
        rows.append(
            dict(zip(("fov_z", "fov_y", "fov_x"), volume, strict=True))
            | dict.fromkeys(("spacing_z", "spacing_y", "spacing_x"), 1.0)
            | {"dataset": "blobs", "scan": scan.name, "case": scan.name, "modality": "MR"}
            | {"split": "validation" if number == 7 else "train", "half": 1, "slices": volume[0]}
            | {"declared": ";".join(STRUCTURES), "present": ";".join(STRUCTURES)}
        )
    (prepared / "sources.json").write_text("{}")
    write_cases(prepared, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False))
    annotate(annotated, prepared, STRUCTURES, {1: {"kind": "complete"}, 2: None})
    return prepared, annotated


def settings(problem: Problem, precision: str, augmented: dict) -> dict:
    """Those of a planned run, with what the problem sets."""
    patches = {"kind": "patches", "size": list(problem.space)}
    slices = {"kind": "slices", "neighbours": 0}
    runs = Planner().plan("smoke").runs.values()
    planned = next(run.settings for run in runs if run.settings["method"] == "cross_entropy")
    sgd = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": True}
    # As many steps again to warm up: a row of the history, which is waited for, ends either half.
    budget = {"steps": 2 * problem.steps, "validate_every": 10**6, "precision": precision}
    return planned | {
        "structures": STRUCTURES,
        "classes": CLASSES,
        "method_options": {},
        "optimiser": planned["optimiser"] | sgd | {"warmup_steps": 0},
        "batch_size": problem.batch,
        "input": patches if len(problem.space) == 3 else slices,
        "sampler": {"name": "cases"},
        "augmentation": augmented,
        "training": planned["training"] | budget | {"checkpoint_seconds": 3600.0},
    }


# ---- contenders: samples per second ----


def plain_loop(network: nn.Module, batches, problem: Problem, precision: str, device) -> float:
    """Steps on (images, labels) from `batches`, WARM_UP of them untimed."""
    network = network.to(device).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    kind = torch.bfloat16 if precision == "bfloat16" else None
    for step in range(WARM_UP + problem.steps):
        if step == WARM_UP:
            wait(device)
            start = time.perf_counter()
        images, labels = next(batches)
        with torch.autocast(device.type, kind, enabled=kind is not None):
            logits = network(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    wait(device)
    return problem.batch * problem.steps / (time.perf_counter() - start)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def floor(problem: Problem, precision: str, device: torch.device) -> float:
    images = torch.randn(problem.batch, 1, *problem.space, device=device)
    labels = torch.randint(CLASSES, (problem.batch, *problem.space), device=device)

    def for_ever():
        while True:
            yield images, labels

    return plain_loop(network_of(problem), for_ever(), problem, precision, device)


def ours(problem: Problem, precision: str, folders, augmented: dict, threads: int) -> float:
    with (
        tempfile.TemporaryDirectory() as place,
        mock.patch.object(networks, "build", return_value=network_of(problem)),
    ):
        given = settings(problem, precision, augmented)
        training = Training(given, *folders, Path(place), threads)
        with (
            mock.patch.object(training, "_validate"),
            mock.patch("piecemeal.training.loop.LOG_POINTS", 10**6 // problem.steps),
        ):
            training.run()
    before, after = (row["seconds"] for row in training.state["history"])
    return problem.batch * problem.steps / (after - before)


def monai_batches(problem: Problem, folders, device: torch.device):
    """Batches of MONAI's own loader, everything cached, augmented, on the device."""
    from monai import transforms as t
    from monai.data import CacheDataset, DataLoader

    prepared, _ = folders
    scans = sorted((prepared / "blobs").iterdir())[:7]
    volumes = [(np.load(s / "image.npy"), np.load(s / "labels.npy")) for s in scans]
    keys = ["image", "label"]
    if len(problem.space) == 2:
        items = [
            {"image": i[None], "label": y[None]} for v in volumes for i, y in zip(*v, strict=True)
        ]
        crop, axes = [], [0, 1]
    else:
        items = [{"image": image[None], "label": labels[None]} for image, labels in volumes]
        crop, axes = [t.RandSpatialCropd(keys, problem.space, random_size=False)], [1, 2]
    chain = [
        t.EnsureTyped(keys),
        *crop,
        *[t.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in axes],
        t.RandAffined(
            keys,
            prob=0.2,
            rotate_range=[np.pi / 12],  # in the plane
            scale_range=[0.0] * (len(problem.space) - 2) + [0.15, 0.15],
            mode=["bilinear", "nearest"],
            padding_mode="zeros",
        ),
        t.RandGaussianNoised(["image"], prob=0.1, std=0.1),
    ]
    data = CacheDataset(items, t.Compose(chain), progress=False)
    workers = runtime.loader_workers(torch.get_num_threads(), device)
    batches = DataLoader(data, workers, batch_size=problem.batch, shuffle=True, drop_last=True)

    while True:
        for batch in batches:
            image, label = (batch[key].as_tensor().to(device) for key in keys)
            yield image, label[:, 0].long()


def our_batches(problem: Problem, folders, device: torch.device):
    """Batches as the loop of every run sees them, augmented, on the device."""
    cases = load_cases(*folders, "train", CLASSES)
    given = settings(problem, "float32", AUGMENTATION)
    window = Window.of(given["input"], cases)
    sampler = build_sampler(given["sampler"], cases, window, problem.batch, 0)
    augmentation, rows = Augmentation(AUGMENTATION, 0, window), range(problem.batch)
    steps = StepBatches(Samples(cases, window, augmentation.margin), sampler, rows, augmentation)
    workers = runtime.loader_workers(torch.get_num_threads(), device)
    for step, batch in enumerate(loader(steps, 0, 10**9, workers, device)):
        batch = batch.to(device, torch.contiguous_format)
        yield augmentation(batch, step, rows, problem.batch)


def rate_of_data(batches, problem: Problem, device: torch.device) -> float:
    """Samples per second of batches that nobody trains on."""
    count = 10 * problem.steps
    for number in range(WARM_UP + count):
        if number == WARM_UP:
            wait(device)
            start = time.perf_counter()
        next(batches)
    wait(device)
    return problem.batch * count / (time.perf_counter() - start)


def network_of(problem: Problem) -> nn.Module:
    """The same start for every contender."""
    return copy.deepcopy(problem.network)


# ---- how much of the machine ----


def share_of_peak(problem: Problem, rate: float, device: torch.device) -> float:
    """Floating point operations per second of the steps over those of a large bf16 product."""
    from torch.utils.flop_counter import FlopCounterMode

    network = network_of(problem).to(device)
    with FlopCounterMode(display=False) as counted:
        network(torch.randn(problem.batch, 1, *problem.space, device=device)).sum().backward()
    one = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    for repeats in (5, 50):
        wait(device)
        start = time.perf_counter()
        for _ in range(repeats):
            one @ one
        wait(device)
        peak = repeats * 2 * 8192**3 / (time.perf_counter() - start)
    return counted.get_total_flops() * rate / problem.batch / peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="timed steps of a contender")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the numbers there as well")
    given = parser.parse_args()
    device = runtime.prepare_process(given.threads)
    precision = runtime.choose_precision("auto", device)
    print(f"{runtime.device_name(device)}, {precision}, {given.threads} threads")
    table = []
    for problem in problems(device, given.steps):
        rates = defaultdict[str, list[float]](list)
        with tempfile.TemporaryDirectory() as folder:
            folders = make_store(Path(folder), problem.volume)
            for _ in range(given.repeats):
                rates["floor"].append(floor(problem, precision, device))
                rates["piecemeal"].append(
                    ours(problem, precision, folders, AUGMENTATION, given.threads)
                )
                theirs = monai_batches(problem, folders, device)
                rates["MONAI"].append(
                    plain_loop(network_of(problem), theirs, problem, precision, device)
                )
                for name, batches in (("piecemeal", our_batches), ("MONAI", monai_batches)):
                    rates[f"{name}, data alone"].append(
                        rate_of_data(batches(problem, folders, device), problem, device)
                    )
        table.append(
            {"problem": problem.name, "samples_per_second": rates} | report(problem, rates)
        )
        if device.type == "cuda":
            share = share_of_peak(problem, statistics.median(rates["piecemeal"]), device)
            print(f"  {share:.0%} of the measured peak of bf16 matrix multiplication")
    if given.json:
        given.json.write_text(json.dumps(table, indent=1) + "\n")


def report(problem: Problem, rates: dict[str, list[float]]) -> dict[str, float]:
    """Print the medians and what became of the targets; ratios are those of a turn."""
    print(f"\n{problem.name}")
    for name, found in rates.items():
        print(f"  {name:22} {statistics.median(found):8.1f} samples/s")
    ratios = {}
    for name, target in (("floor", OF_FLOOR), ("MONAI", OF_MONAI)):
        turns = zip(rates["piecemeal"], rates[name], strict=True)
        ratios[name] = ratio = statistics.median(mine / theirs for mine, theirs in turns)
        met = "met" if ratio >= target else "MISSED"
        print(f"  {ratio:.2f} x {name}: at least {target} asked: {met}")
    most = statistics.median(f / m for f, m in zip(rates["floor"], rates["MONAI"], strict=True))
    print(f"  {most:.2f} x MONAI is what a loop would reach that neither reads nor augments")
    return {"of_floor": ratios["floor"], "of_monai": ratios["MONAI"], "floor_of_monai": most}


if __name__ == "__main__":
    main()
