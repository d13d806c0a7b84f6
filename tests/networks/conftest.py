"""What a network of published size weighs and costs, found without computing anything."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from piecemeal import networks


@pytest.fixture
def parameters():
    """Number of parameters of a network by name, channels and options."""

    def count(name: str, *channels: int, **options) -> int:
        with torch.device("meta"):
            network = networks.build(name, *channels, **options)
        return sum(p.numel() for p in network.parameters())

    return count


@pytest.fixture
def gmac():
    """10^9 multiply-accumulates of one forward pass on an input of the given space."""

    def count(space: tuple[int, ...], name: str, *channels: int, task=(), **options) -> float:
        with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
            network = networks.build(name, *channels, **options).eval()
            network(torch.empty(1, channels[0], *space), *task)
        return counter.get_total_flops() / 2e9

    return count
