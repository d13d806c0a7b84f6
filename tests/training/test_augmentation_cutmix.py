"""CutMix by hand."""

import numpy as np
import pytest
import torch

from piecemeal.augmentation_specs import AugmentationConfig
from piecemeal.training.augmentation import Augmentation
from piecemeal.training.augmentation.cutmix import draw_boxes, partners, paste
from piecemeal.training.data import Batch


class Drawn:
    """A Draw that gives out what it is told."""

    def __init__(self, share_kept: list[float], *centres: list[float]):
        self.share_kept, self.centres = np.array(share_kept), iter(map(np.array, centres))

    def beta(self, alpha):
        return self.share_kept

    def uniform(self):
        return next(self.centres)


@pytest.mark.parametrize("size", [2, 3, 7, 12])
def test_everyone_gives_once_and_never_to_itself(size):
    for step in range(20):
        chosen = partners(1, step, size)
        assert sorted(chosen) == list(range(size))
        assert (chosen != np.arange(size)).all()


def test_partners_change_with_the_step():
    assert len({tuple(partners(1, step, 8)) for step in range(10)}) > 5


def test_one_row_is_its_own_partner():
    assert partners(1, 0, 1).tolist() == [0]


def test_the_share_of_a_box_is_what_the_draw_leaves():
    boxes = draw_boxes(Drawn([0.75, 0.0, 1.0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]), 1.0, (8, 16))
    assert boxes.tolist() == [[[2, 6], [4, 12]], [[0, 8], [0, 16]], [[4, 4], [8, 8]]]


def test_boxes_are_cut_off_at_the_border():
    boxes = draw_boxes(Drawn([0.75, 0.75], [0.0, 0.99], [0.2, 0.5]), 1.0, (8, 8))
    assert boxes.tolist() == [[[0, 2], [0, 3]], [[5, 8], [2, 6]]]


def test_boxes_in_space_have_that_share_of_the_volume():
    centre = [0.5]
    boxes = draw_boxes(Drawn([1 - 0.5**3], centre, centre, centre), 1.0, (8, 8, 8))
    assert boxes.tolist() == [[[2, 6], [2, 6], [2, 6]]]


def test_a_box_brings_image_and_label_sets():
    images = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).repeat(1, 1, 3, 3)
    codes = torch.tensor([0, 1], dtype=torch.uint8).view(2, 1, 1).repeat(1, 3, 3)
    sets = torch.tensor([[[True, False], [False, True]], [[True, True], [False, False]]])
    boxes = np.array([[[0, 2], [1, 3]], [[0, 3], [0, 3]]])
    table = paste(images, codes, sets, np.array([1, 0]), boxes, np.array([True, False]))
    assert images[0, 0].tolist() == [[1, 2, 2], [1, 2, 2], [1, 1, 1]]
    assert codes[0].tolist() == [[0, 3, 3], [0, 3, 3], [0, 0, 0]]
    assert table[0].tolist() == [*sets[0].tolist(), *sets[1].tolist()]
    assert (images[1] == 2).all()
    assert (codes[1] == 1).all()
    assert table[1].tolist() == [*sets[1].tolist(), [False, False], [False, False]]


@pytest.mark.parametrize("space", [(12, 12), (6, 8, 10)], ids=["2D", "3D"])
def test_every_voxel_keeps_the_label_set_of_its_intensity(space):
    size, classes = 6, 6
    # Row r: intensity r everywhere, and the set {r} under a code of its own.
    rows = torch.arange(size).view(-1, *[1] * len(space))
    codes = (rows % 3).to(torch.uint8).expand(size, *space)
    sets = torch.zeros(size, 3, classes, dtype=torch.bool)
    sets[torch.arange(size), torch.arange(size) % 3, torch.arange(size)] = True
    images = rows.float().expand(size, *space)[:, None]
    config = AugmentationConfig(cutmix={"probability": 0.7}).model_dump()
    augmentation, mixed = Augmentation(config, 2), 0
    for step in range(10):
        chosen = augmentation.partners(step, size)
        both = [*range(size), *chosen.tolist()]
        effective = Batch(images[both], codes[both], sets[both])
        found = augmentation(effective, step, range(size), size)
        for row in range(size):
            values = found.images[row, 0].unique().tolist()
            assert set(values) <= {row, chosen[row]}
            mixed += len(values) == 2
            voxels = found.sets[row][found.codes[row].long()]
            assert (voxels.sum(-1) == 1).all()
            assert torch.equal(voxels.int().argmax(-1), found.images[row, 0].long())
    assert 10 < mixed < 50
