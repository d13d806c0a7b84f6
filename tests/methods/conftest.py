"""Batches of annotated samples, as a cohort of several tasks has them."""

import numpy as np
import pytest
import torch

from piecemeal import bitmasks
from piecemeal.annotations import Annotation, as_declared, complete

CLASSES = 6


@pytest.fixture(scope="session")
def annotated():
    """What is said of labels in which only the structures of a task can occur."""

    def annotate(labels: np.ndarray, task: list[int]) -> Annotation:
        return as_declared(complete(np.asarray(labels), CLASSES), task)

    return annotate


@pytest.fixture(scope="session")
def overlaid():
    """What is said of bit masks of the structures of a task."""

    def annotate(masks: np.ndarray, task: list[int]) -> Annotation:
        codes = np.asarray(masks, dtype=np.uint8)
        return as_declared(Annotation(codes, bitmasks.table(task, CLASSES)), task)

    return annotate


@pytest.fixture(scope="session")
def as_batch(annotated):
    """Codes and sets of samples (labels, task), which all have a table of CLASSES rows."""

    def batch(*samples: tuple) -> tuple[torch.Tensor, torch.Tensor]:
        found = [annotated(*sample) for sample in samples]
        return tuple(torch.from_numpy(np.stack(parts)) for parts in zip(*found, strict=True))

    return batch
