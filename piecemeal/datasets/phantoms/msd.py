"""Phantom of two tasks of the Medical Segmentation Decathlon: liver (03) and spleen (09).

    Task09_Spleen/dataset.json
    Task09_Spleen/imagesTr/spleen_2.nii.gz      int16
    Task09_Spleen/labelsTr/spleen_2.nii.gz      uint8
    Task09_Spleen/imagesTs/spleen_1.nii.gz      without labels
    Task09_Spleen/imagesTr/._spleen_2.nii.gz    what a Mac leaves behind

As published by Antonelli et al. (Nature Communications 2022): plain tar, numbers without leading
zeros and with gaps, paths in dataset.json that start with "./".
"""

import json
from dataclasses import dataclass
from pathlib import Path

from piecemeal.datasets.phantoms.drawing import files, studies
from piecemeal.datasets.phantoms.drawing.packing import Archive, apple_double, leave
from piecemeal.errors import InputError


@dataclass(frozen=True)
class Task:
    """A task: folder, name of its cases, raw values with their names, and how it was scanned."""

    folder: str
    name: str
    values: dict[str, int]
    names: tuple[str, ...]
    protocol: studies.Protocol
    codes: str


TASKS = {
    "liver": Task(
        "Task03_Liver",
        "liver",
        {"liver": 1, "liver tumour": 2},
        ("background", "liver", "cancer"),
        studies.Protocol("msd03", noise=(14, 24), blur=(0.2, 0.35), trim_mm=25),
        "LAS",
    ),
    "spleen": Task(
        "Task09_Spleen",
        "spleen",
        {"spleen": 1},
        ("background", "spleen"),
        studies.Protocol("msd09", noise=(9, 15), padding=-1024, margin_mm=(6, 12)),
        "RAS",
    ),
}
TESTS = 2


def write(
    folder: Path,
    cases: int,
    seed: int,
    *,
    task: str = "spleen",
    size: int = 64,
    slices: int = 40,
    packed: bool = False,
    broken: bool = False,
) -> None:
    """Write `cases` training patients and two test patients; the marker file PHANTOM comes last.

    task: "liver" or "spleen". size, slices: voxels in plane and along z. packed: as the published
    tar. broken: changes nothing, no case of this source is known to be useless. Case i depends on
    (seed, i) only. Raises InputError for options out of range.
    """
    if task not in TASKS:
        raise InputError(f"phantom msd: task is {task!r}, expected {' or '.join(TASKS)}")
    studies.check_options("msd", cases, seed, size, slices)
    about, shape = TASKS[task], (slices, size, size)
    training = [f"{about.name}_{_number(index)}.nii.gz" for index in range(cases)]
    tests = [f"{about.name}_{1 + 3 * index}.nii.gz" for index in range(TESTS)]
    tree = {f"{about.folder}/dataset.json": _index(about, training, tests)}
    for index, name in enumerate(training):
        image, labels = _patient(about, seed, index, shape)
        tree[f"{about.folder}/imagesTr/{name}"] = image
        tree[f"{about.folder}/labelsTr/{name}"] = labels
        rng = studies.generator(about.protocol.source, seed, index, studies.FILES)
        tree[f"{about.folder}/imagesTr/._{name}"] = apple_double(rng)
        tree[f"{about.folder}/labelsTr/._{name}"] = apple_double(rng)
    for index, name in enumerate(tests):
        image, _ = _patient(about, seed, studies.UNLABELLED + index, shape)
        tree[f"{about.folder}/imagesTs/{name}"] = image
    leave(Path(folder), tree, [Archive(f"{about.folder}.tar")] if packed else None)
    files.mark(Path(folder), "msd", cases, seed)


def _number(index: int) -> int:
    """Number of a training case: 2, 3, 5, 6, 8, ...; the ones left out are those of the test."""
    return 2 + 3 * (index // 2) + index % 2


def _patient(task: Task, seed: int, index: int, shape: tuple[int, int, int]) -> tuple[bytes, bytes]:
    rng = studies.generator(f"{task.protocol.source} tumours", seed, index, studies.FILES)
    tumours = {"liver tumour": int(rng.integers(0, 5))} if task.name == "liver" else {}
    patient = studies.study(task.protocol, seed, index, shape, tumours=tumours)
    return patient.pair(task.values, task.codes)


def _index(task: Task, training: list[str], tests: list[str]) -> bytes:
    content = {
        "name": task.name.capitalize(),
        "description": f"{task.name.capitalize()} segmentation of synthetic subjects",
        "reference": "none",
        "licence": "CC-BY-SA 4.0",
        "release": "1.0 06/08/2018",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {str(value): name for value, name in enumerate(task.names)},
        "numTraining": len(training),
        "numTest": len(tests),
        "training": [
            {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in training
        ],
        "test": [f"./imagesTs/{name}" for name in tests],
    }
    return json.dumps(content, indent=1).encode()
