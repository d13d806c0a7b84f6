from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from piecemeal.datasets.grid import Geometry
from piecemeal.errors import InputError
from piecemeal.publishing import style
from piecemeal.publishing.attention import SLICES, Levels, attention_curves, levels, names, runs
from piecemeal.publishing.trained import Trained


class Brightness(nn.Module):
    """Two levels: the first counts as much as the slice is bright; keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def attention(self, images):
        self.seen.append(images)
        bright = images[:, images.shape[1] // 2].mean(dim=(1, 2))
        return torch.stack([bright, 1 - bright], dim=1)


def run_of(network, neighbours=1, crop=None, **settings):
    given = {"neighbours": neighbours, "crop": crop}
    settings |= {"method": "fan", "network": "blind", "input": given}
    return Trained(settings, None, network)


def scan_of(brightness, shows, up=1.0):
    """Slices of 2 x 3 pixels 4 mm apart, each of one brightness."""
    image = np.ones((len(brightness), 2, 3), np.float32) * np.float32(brightness)[:, None, None]
    affine = np.diag([1.0, 1.0, up, 1.0])
    geometry = Geometry(image.shape, (4, 1, 1), affine, (4.0, 1.0, 1.0), image.shape)
    labels = np.zeros(image.shape, np.uint8)
    labels[shows, 0, 0] = 1
    return SimpleNamespace(image=image, labels=labels, geometry=geometry, folder=Path("scan"))


def test_weights_follow_the_slices_from_the_lowest_on():
    found = levels(run_of(Brightness()), scan_of([0.1, 0.2, 0.4], [1]))
    assert found.weights[:, 0] == pytest.approx([0.1, 0.2, 0.4])
    assert found.weights.sum(axis=1) == pytest.approx([1, 1, 1])
    assert found.heights.tolist() == [0, 4, 8]
    assert (found.shows.tolist(), found.step) == ([False, True, False], 4)


def test_a_scan_from_above_is_turned():
    found = levels(run_of(Brightness()), scan_of([0.1, 0.2, 0.4], [0], up=-1.0))
    assert found.weights[:, 0] == pytest.approx([0.4, 0.2, 0.1])
    assert found.heights.tolist() == [0, 4, 8]
    assert found.shows.tolist() == [False, False, True]


def test_the_network_sees_whole_slices_with_their_neighbours():
    network = Brightness()
    levels(run_of(network), scan_of([0.1, 0.2, 0.4], [0]))
    (seen,) = network.seen
    assert seen.shape == (3, 3, 2, 3)
    assert seen[:, :, 0, 0].flatten().tolist() == pytest.approx(
        [0.1, 0.1, 0.2, 0.1, 0.2, 0.4, 0.2, 0.4, 0.4]
    )


def in_columns(brightness, count=3):
    """A scan of equal slices of 2 rows, the columns of the given brightness."""
    scan = scan_of([0.0] * count, [0])
    scan.image = np.tile(np.float32(brightness), (count, 2, 1))
    return scan


@pytest.mark.parametrize(
    ("inference", "tiles"),
    [
        ({}, [(0, 2), (1, 3), (2, 4)]),
        ({"inference": {"overlap": 0.5}}, [(0, 2), (1, 3), (2, 4)]),
        ({"inference": {"overlap": 0.0}}, [(0, 2), (2, 4)]),
    ],
)
def test_what_is_predicted_in_tiles_is_asked_tile_by_tile(inference, tiles):
    """Halves of 4 columns; the rows of a slice are 2, of which a half is 1."""
    network, columns = Brightness(), [0.1, 0.2, 0.4, 0.8]
    found = levels(run_of(network, crop=0.5, **inference), in_columns(columns))
    asked = [columns[slice(*tile)] for tile in tiles] * 2  # in each of both rows
    assert [seen[0, 1].tolist() for seen in network.seen] == [
        [pytest.approx(tile)] for tile in asked
    ]
    mean = np.mean([np.mean(tile) for tile in asked])
    assert found.weights == pytest.approx(np.array([[mean, 1 - mean]] * 3))


def test_of_many_slices_some_are_asked_the_outermost_among_them():
    found = levels(run_of(Brightness(), 0), scan_of(np.linspace(0, 1, 200), [0]))
    assert len(found.weights) == len(found.heights) == SLICES
    assert found.heights[[0, -1]].tolist() == [0, 4 * 199]
    assert found.weights[:, 0] == pytest.approx(found.heights / (4 * 199))
    assert len(found.shows) == 200


def test_a_network_without_attention_is_refused():
    with pytest.raises(InputError, match="shows 'fan', whose network 'blind' has none; leave"):
        levels(run_of(nn.Identity()), scan_of([0.1], [0]))


def test_runs_worked_by_hand():
    assert runs(np.array([True, True, False, True])) == [(0, 2), (3, 4)]
    assert runs(np.zeros(3, bool)) == []
    assert runs(np.ones(3, bool)) == [(0, 3)]


def test_levels_are_named_from_the_coarsest():
    assert names(5) == ["1/16 resolution", "1/8", "1/4", "1/2", "full resolution"]
    assert names(2) == ["1/2 resolution", "full resolution"]


@pytest.fixture
def found():
    weights = np.full((4, 5), 0.2)
    one = Levels(weights, np.arange(4) * 5.0, np.array([False, True, True, False]), 5.0)
    return {arm: {"liver": one, "spleen": one} for arm in ("fan", "mos")}


ARMS, DATASETS = {"fan": "FAN", "mos": "MOS"}, {"liver": "Liver Challenge", "spleen": "Spleen"}


def test_rows_are_arms_and_columns_data_sets(found):
    figure = attention_curves(found, ARMS, DATASETS, "phantom")
    assert [axes.get_title() for axes in figure.axes] == ["Liver Challenge", "Spleen", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["FAN\nweight", "", "MOS\nweight", ""]
    assert all(len(axes.lines) == 5 for axes in figure.axes)
    assert "phantom" in {text.get_text() for text in figure.texts}


def test_slices_with_the_structure_are_shaded(found):
    axes = attention_curves(found, ARMS, DATASETS).axes[0]
    (shade,) = axes.patches
    assert (shade.get_x(), shade.get_width()) == (2.5, 10)


def test_same_input_same_bytes(found, tmp_path):
    drawn = [attention_curves(found, ARMS, DATASETS) for _ in range(2)]
    written = [style.save(figure, tmp_path / str(i)) for i, figure in enumerate(drawn)]
    first, second = ([path.read_bytes() for path in paths] for paths in written)
    assert first == second
