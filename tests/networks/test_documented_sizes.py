"""docs/networks.md says how many weights the networks have; here they are built and counted."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from piecemeal import networks

PAGE = Path(__file__).resolve().parents[2] / "docs" / "networks.md"
ROW = re.compile(r"^\| `(\w+)` \| (\d+) \| (\d+) \| `(.*?)` \| ([\d,]+) \|(.*)\|$", re.MULTILINE)

COST = re.compile(r"^\| `(\w+)` \| (\d+) \| (\d+) \| ([\d,]+) \|$", re.MULTILINE)


def rows() -> list[tuple]:
    """(network, in, out, options, weights) of every count of the page."""
    found = []
    for name, images, logits, options, count, more in ROW.findall(PAGE.read_text("utf-8")):
        given = (name, int(images), int(logits))
        found.append((*given, yaml.safe_load(options), number(count)))
        if more.strip():
            released, options = re.fullmatch(r" ([\d,]+) `(.*)` ", more).groups()
            found.append((*given, yaml.safe_load(options), number(released)))
    return found


def costs() -> list[tuple]:
    """(network, out, side of the window, GMAC) of every cost of the page."""
    return [
        (name, int(logits), int(side), number(gmac))
        for name, logits, side, gmac in COST.findall(PAGE.read_text("utf-8"))
    ]


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_the_page_has_counts():
    assert len(rows()) == 23
    assert len(costs()) == 7


@pytest.mark.parametrize(("name", "images", "logits", "options", "weights"), rows())
def test_a_network_has_as_many_weights_as_the_page_says(name, images, logits, options, weights):
    with torch.device("meta"):
        network = networks.build(name, images, logits, **options)
    assert sum(p.numel() for p in network.parameters()) == weights


@pytest.mark.parametrize(("name", "logits", "side", "said"), costs())
def test_a_window_costs_what_the_page_says(gmac, name, logits, side, said):
    task = (0,) if name in ("dodnet_transunet", "clip_transunet") else ()
    assert round(gmac(3 * (side,), name, 1, logits, task=task)) == said


def test_what_label_sharing_saves_is_what_the_page_says():
    """The 6 outputs of label sharing beside the 15 of a channel for each structure."""
    weights = {row[2]: row[4] for row in rows() if row[0] == "nnunet" and row[3] == {}}
    (said,) = re.findall(r"That is ([\d.]+) % of the weights", PAGE.read_text("utf-8"))
    assert float(said) == round(100 * (1 - weights[6] / weights[15]), 2)
