"""What a plan will cost before anything of it is done: downloads, and hours on a GPU.

Both are estimates and say what they leave out. Hours come from counted operations, not from a
table of timings: the forward pass of each network is run on the meta device, where nothing is
computed, training counts as three of it a step (forward, and two for the gradients), times the
passes that a method makes of a sample, and `gpu_tflops` of config/config.yaml says how much of that
a GPU does in a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from piecemeal.datasets.fetching.assemble import size_of, wanted_files
from piecemeal.errors import InputError
from piecemeal.plan import Plan

TRAINING_PASSES = 3  # forward passes that a step of training is worth


class Download(NamedTuple):
    """What a data set takes from the network: bytes to fetch, files of unknown size, what is there.

    by_hand: files that a person has to place.
    """

    dataset: str
    missing_bytes: int
    unknown: int
    by_hand: int
    there_bytes: int


def downloads(plan: Plan) -> list[Download]:
    """One entry for each data set of the plan that is downloaded, in the order of their names."""
    units = {name: unit.settings for name, unit in plan.raw.items()}
    return [
        _download(name, settings)
        for name, settings in sorted(units.items())
        if settings["source"]["kind"] == "download"
    ]


def _download(name: str, settings: Mapping[str, Any]) -> Download:
    folder = Path(settings["downloads"])
    missing = unknown = by_hand = there = 0
    for file in wanted_files(settings["all_of_archives"]):
        path = folder / file.name
        if path.exists():
            there += path.stat().st_size
            continue
        size = size_of(file.archive)
        missing += size or 0
        unknown += size is None
        by_hand += not file.urls
    return Download(name, missing, unknown, by_hand, there)


def gpu_hours(plan: Plan, tflops: float) -> dict[str, float | None]:
    """Run -> hours that training it takes on a GPU that sustains `tflops`; validation left out.

    0 for a method that is not trained, None where the size of an image is known only once the
    data are there.
    """
    per_sample: dict[str, float | None] = {}
    hours: dict[str, float | None] = {}
    for key, unit in plan.runs.items():
        settings = unit.settings
        if not settings["network"]:
            hours[key] = 0.0
            continue
        shape = input_shape(plan, settings)
        decides = ("network", "network_options", "implementation", "method_options", "classes")
        same = repr(([settings[key] for key in decides], shape))
        if same not in per_sample:
            try:
                per_sample[same] = None if shape is None else _forward_flops(settings, shape)
            except InputError as error:
                raise InputError(f"run {key}: {error}") from None
        forward = per_sample[same]
        samples = settings["training"]["steps"] * settings["batch_size"]
        hours[key] = (
            None
            if forward is None
            else TRAINING_PASSES * forward * samples / (tflops * 1e12 * 3600)
        )
    return hours


def input_shape(plan: Plan, settings: Mapping[str, Any]) -> tuple[int, ...] | None:
    """(channels, *space) of one training sample; None if the grid leaves it to the scans."""
    kind = settings["input"]
    if kind["kind"] == "patches":
        return (1, *kind["size"])
    size = plan.prepared[settings["cohort"]].settings["grid"]["size"]
    if None in size[1:]:
        return None
    return (
        2 * kind["neighbours"] + 1,
        *(round(side * (kind.get("crop") or 1)) for side in size[1:]),
    )


def _forward_flops(settings: Mapping[str, Any], shape: tuple[int, ...]) -> float:
    """Operations of all forward passes that a training step makes of one sample."""
    import torch  # here, because nothing else of planning needs it
    from torch.utils.flop_counter import FlopCounterMode

    from piecemeal import methods

    method = methods.load(
        settings["implementation"], settings["classes"], settings["method_options"]
    )
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = methods.build_network(settings, method, shape[0]).eval()
        with torch.no_grad():
            network(torch.empty(1, *shape))
    return method.work * counter.get_total_flops()
