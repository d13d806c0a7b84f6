"""Networks whose predictions are known without computing them."""

import pytest
import torch
from torch import nn

from piecemeal import methods
from piecemeal.methods._base import Method


class Plain(Method):
    """The logits are the probabilities."""

    def loss(self, logits, codes, sets):
        raise NotImplementedError

    def probabilities(self, logits):
        return logits.float()


class Ramp(nn.Module):
    """Two classes: the image times its index along x, and along y; keeps the shapes it saw."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.shapes = []

    def forward(self, images):
        self.shapes.append(tuple(images.shape))
        along_x = images[:, 0] * torch.arange(images.shape[-1])
        along_y = images[:, 0] * torch.arange(images.shape[-2])[:, None]
        return self.weight * torch.stack([along_x, along_y], dim=1)


@pytest.fixture
def plain() -> Method:
    return Plain(2)


@pytest.fixture
def ramp() -> nn.Module:
    return Ramp()


@pytest.fixture
def slac() -> Method:
    return methods.load("slac", 3)
