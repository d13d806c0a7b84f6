import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.inference.slices import slice_planes, tile_planes

CPU = torch.device("cpu")

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


def tiles_seen(image, neighbours, size, overlap=0.5, weights="uniform", batch_size=4):
    """The batches that were read, and the planes that came of the channel of the slice itself."""
    seen = []

    def read(images):
        seen.append(images)
        return images[:, neighbours : neighbours + 1]

    planes = tile_planes(read, image, neighbours, size, overlap, weights, batch_size, CPU)
    return seen, torch.stack(list(planes)).numpy()


def test_tiles_of_a_slice_worked_by_hand():
    """A slice of 3 x 5 in tiles of 2 x 4: two along y, two along x."""
    image = np.arange(15, dtype=np.float32).reshape(1, 3, 5)
    (batch,), planes = tiles_seen(image, 0, (2, 4))
    assert batch.shape == (4, 1, 2, 4)
    assert batch[:, 0, 0, 0].tolist() == [0, 1, 5, 6]
    np.testing.assert_allclose(planes[:, 0], image)


def test_tiles_have_their_neighbours():
    seen, _ = tiles_seen(IMAGE, 1, (2, 2))
    channels = torch.cat(seen)[..., 0, 0].tolist()
    around = [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert channels == [slices for slices in around for _ in range(2)]


def test_tiles_that_overlap_are_averaged():
    """Two tiles of 2 x 2 in a slice of 2 x 3 share the column in the middle."""
    image = np.zeros((1, 2, 3), np.float32)

    def read(images):  # the first tile says 0, the second 1
        return torch.arange(2.0).view(2, 1, 1, 1).expand(2, 1, 2, 2)

    (plane,) = tile_planes(read, image, 0, (2, 2), 0.5, "uniform", 2, CPU)
    assert plane[0].tolist() == [[0, 0.5, 1]] * 2


def test_tiles_of_two_slices_share_a_batch():
    seen, _ = tiles_seen(IMAGE, 0, (2, 2), batch_size=3)
    assert [len(batch) for batch in seen] == [3, 3, 2]


@given(
    st.tuples(*3 * [st.integers(1, 6)]),
    st.tuples(*2 * [st.integers(1, 7)]),
    st.integers(0, 2),
    st.floats(0, 0.9),
    st.sampled_from(["uniform", "gaussian"]),
    st.integers(1, 5),
)
def test_every_pixel_comes_back_where_it_was(shape, size, neighbours, overlap, weights, batch_size):
    image = np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)
    seen, planes = tiles_seen(image, neighbours, size, overlap, weights, batch_size)
    np.testing.assert_allclose(planes[:, 0], image, rtol=1e-5)
    assert {batch.shape[1:] for batch in seen} == {(2 * neighbours + 1, *size)}
    assert max(map(len, seen)) <= batch_size


def test_one_tile_is_the_whole_slice():
    image = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    whole = list(slice_planes(lambda images: images, image, 1, 2))
    tiled = list(tile_planes(lambda images: images, image, 1, (4, 3), 0.5, "gaussian", 2, CPU))
    torch.testing.assert_close(tiled, whole)
