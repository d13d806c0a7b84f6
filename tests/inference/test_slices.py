import numpy as np
import pytest
import torch

from piecemeal.inference.slices import slice_planes

# Every slice holds its own number.
IMAGE = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None, None], (4, 2, 3))


def channels_seen(image, neighbours, batch_size):
    seen = []

    def read(images):
        seen.append(images)
        return images[:, :1]

    list(slice_planes(read, image, neighbours, batch_size))
    return seen


def test_neighbours_worked_by_hand():
    (batch,) = channels_seen(IMAGE, 1, 4)
    assert batch.shape == (4, 3, 2, 3)
    assert batch[..., 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]


def test_more_neighbours_than_slices():
    (batch,) = channels_seen(IMAGE[:2], 2, 4)
    assert batch[..., 0, 0].tolist() == [[0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]


def test_neighbours_reach_across_batches():
    first, second = channels_seen(IMAGE, 1, 3)
    assert first[..., 0, 0].tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3]]
    assert second[..., 0, 0].tolist() == [[2, 3, 3]]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 9])
def test_planes_come_in_order(batch_size):
    planes = list(slice_planes(lambda images: images, IMAGE, 0, batch_size))
    assert [plane.shape for plane in planes] == [(1, 2, 3)] * 4
    assert [plane[0, 0, 0].item() for plane in planes] == [0, 1, 2, 3]


def test_no_batch_is_read_before_it_is_needed():
    seen = []
    planes = slice_planes(lambda images: seen.append(len(images)) or images, IMAGE, 0, 3)
    for _ in range(3):
        next(planes)
    assert seen == [3]


def test_image_is_copied():
    image = np.zeros((2, 2, 2), np.float32)
    list(slice_planes(lambda images: images.add_(1), image, 0, 2))
    assert (image == 0).all()
    assert torch.is_tensor(next(slice_planes(lambda images: images, image, 0, 2)))
