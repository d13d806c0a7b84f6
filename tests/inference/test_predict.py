import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from piecemeal import methods
from piecemeal.datasets.grid import Geometry, resample_from_grid
from piecemeal.datasets.store import PreparedScan
from piecemeal.errors import InputError
from piecemeal.inference import ForwardPasses, predict, warm_up
from piecemeal.methods._base import Method

ROOT = Path(__file__).resolve().parents[2]

CLASSES = 3


class Threshold(nn.Module):
    """Class 1 where the normalised intensity is above 1, else background; counts its calls."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(8.0))
        self.batches = []

    def forward(self, images):
        self.batches.append(len(images))
        margin = self.weight * (images[:, 0] - 1)
        return torch.stack([-margin, margin, torch.full_like(margin, -99.0)], dim=1)


@pytest.fixture
def scan(cohort) -> PreparedScan:
    return PreparedScan(cohort.prepared / "blocks" / "subject001")


def in_memory(image, native=None, spacing=(5, 1, 1), grid_spacing=(5, 1, 1)):
    """A scan of these intensities on a grid of pixels of 1 mm."""
    geometry = Geometry(native or image.shape, spacing, np.eye(4), grid_spacing, image.shape)
    return SimpleNamespace(image=image, labels=None, geometry=geometry)


def random_image(*shape):
    return np.random.default_rng(0).normal(1, 1, shape).astype(np.float32)


def of_windows(*size, **options):
    return {"input": {"kind": "patches", "size": list(size)}, "inference": options}


@pytest.mark.parametrize("batch_size", [1, 4, 9, 20])
def test_slices_come_back_in_their_order(slac, batch_size):
    image, network = random_image(9, 6, 6), Threshold()
    settings = {"inference": {"batch_size": batch_size}}
    assert (predict(slac, network, in_memory(image), settings) == (image > 1)).all()
    assert max(network.batches) <= batch_size
    assert sum(network.batches) == 9


def test_prediction_lies_on_the_native_voxels(slac, scan):
    """Intensity follows the blocks, so a threshold finds them where they are in the file."""
    prediction = predict(slac, Threshold(), scan)
    assert prediction.dtype == np.uint8
    assert prediction.shape == scan.reference.shape
    second = np.asarray(scan.reference) == 2
    found = prediction == 1
    assert 2 * (found & second).sum() / (found.sum() + second.sum()) > 0.75


def test_oracle_comes_back_almost_as_it_was(scan):
    prediction = predict(methods.load("oracle", CLASSES), None, scan)
    reference = np.asarray(scan.reference)
    assert (prediction == reference).mean() > 0.97


def test_oracle_keeps_the_order_of_the_slices():
    labels = np.random.default_rng(0).integers(0, CLASSES, (5, 6, 6)).astype(np.uint8)
    scan = in_memory(labels)
    scan.labels = labels
    assert (predict(methods.load("oracle", CLASSES), None, scan) == labels).all()


def test_oracle_comes_back_to_slices_that_the_grid_has_not():
    """Blocks of two slices of 5 mm, on a grid of 10 mm that holds one of each."""
    labels = np.zeros((3, 4, 4), np.uint8)
    labels[1], labels[2] = 1, 2
    scan = in_memory(labels, (6, 4, 4), grid_spacing=(10, 1, 1))
    scan.labels = labels
    assert (predict(methods.load("oracle", CLASSES), None, scan) == labels.repeat(2, 0)).all()


def test_outside_the_grid_is_background(slac, scan):
    everywhere = Threshold()
    with torch.no_grad():
        everywhere.weight.fill_(-1e6)  # calls everything that is not very bright class 1
    prediction = predict(slac, everywhere, scan)
    rows, columns = (np.flatnonzero(prediction.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    geometry = scan.geometry
    reach = geometry.grid_shape[1] / 2 * geometry.grid_spacing[1]
    for found, size, spacing in (
        (rows, geometry.native_shape[1], geometry.spacing[1]),
        (columns, geometry.native_shape[2], geometry.spacing[2]),
    ):
        inside = abs(np.arange(size) - (size - 1) / 2) * spacing <= reach
        assert set(found) <= set(np.flatnonzero(inside))


def test_prediction_is_silent_and_leaves_the_store_alone(slac, scan):
    torch.set_warn_always(True)  # else torch warns only the first test of a session
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            predict(slac, Threshold(), scan)
    finally:
        torch.set_warn_always(False)
    assert not scan.image.flags.writeable


@pytest.mark.parametrize(
    ("planes", "spacing"), [(3, 5.0), (9, 2.0), (2, 7.5)], ids=["as they are", "finer", "coarser"]
)
@pytest.mark.parametrize("settings", [None, of_windows(2, 8, 16)], ids=["slices", "windows"])
def test_class_ids_are_those_of_the_resampled_probabilities(slac, planes, spacing, settings):
    """On pixels that are not square, some of them beyond the grid."""
    image, network = random_image(3, 16, 16), Threshold()
    scan = in_memory(image, (planes, 24, 11), (spacing, 0.8, 1.3))
    with torch.no_grad():
        logits = network(torch.from_numpy(image)[:, None])
    probabilities = slac.probabilities(logits).transpose(0, 1).numpy()
    expected = resample_from_grid(probabilities, scan.geometry, order=1)
    prediction = predict(slac, network, scan, settings)
    clear = abs(expected[0] - expected[1]) > 1e-5
    outside = (expected == 0).all(axis=0)
    assert (clear | outside).mean() > 0.95
    assert outside.any()
    np.testing.assert_array_equal(prediction[clear], expected.argmax(axis=0)[clear])
    assert not prediction[outside].any()


def test_class_ids_are_those_of_the_nearest_voxel_where_a_cohort_says_so(slac):
    image, network = random_image(3, 16, 16), Threshold()
    scan = in_memory(image, (9, 24, 11), (2.0, 0.8, 1.3))
    with torch.no_grad():
        logits = network(torch.from_numpy(image)[:, None])
    ids = slac.probabilities(logits).argmax(dim=1).numpy()
    expected = resample_from_grid(ids, scan.geometry, order=0)
    assert (predict(slac, network, scan, {"resampled": "labels"}) == expected).all()
    assert (predict(slac, network, scan) != expected).any()


OVERLAPPING = {"overlapping": True, "tasks": {"hip": [2, 1], "foot": [3]}}
OVERLAPPING |= {"structures": ["shaft", "head", "toe"]}


def of_task(task, image, declared=("shaft", "head")):
    """A scan of `in_memory` that shows a task."""
    scan = in_memory(image)
    scan.record = {"task": task, "declared": list(declared)}
    scan.folder = Path(f"legs/scan1_{task}")
    return scan


class Independent(Method):
    """The channels of the network are the chances of the classes; keeps what it was asked."""

    def loss(self, logits, codes, sets):
        raise NotImplementedError

    def ask(self, structures):
        self.asked = structures

    def probabilities(self, logits):
        return logits


def test_structures_that_overlap_are_found_one_by_one():
    """The head, bit 0, in the right half, the shaft, bit 1, in the lower; both where they meet."""

    class Halves(Threshold):
        def forward(self, images):
            right, low = (torch.arange(4) >= 2).float(), (torch.arange(4) >= 2)[:, None].float()
            chances = torch.ones(len(images), 4, 4, 4) * 0.5
            chances[:, 1], chances[:, 2] = low * 0.5, right * 0.9
            return chances

    method = Independent(4)
    scan = of_task("hip", np.zeros((1, 4, 4), np.float32))
    found = predict(method, Halves(), scan, OVERLAPPING)
    assert found.dtype == np.uint8
    assert found[0].tolist() == [[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2
    assert method.asked == [1, 2]


def test_oracle_and_background_know_bits():
    """All values of two bits."""
    labels = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    scan = of_task("hip", labels)
    scan.labels = labels
    assert (predict(methods.load("oracle", 4), None, scan, OVERLAPPING) == labels).all()
    assert not predict(methods.load("background", 4), None, scan, OVERLAPPING).any()


def test_bits_of_a_task_that_the_run_does_not_know_are_refused():
    scan = of_task("knee", np.zeros((1, 4, 4), np.float32))
    with pytest.raises(InputError, match=r"scan1_knee/scan\.json: task is 'knee', .*'hip', 'foot'"):
        predict(Independent(4), Threshold(), scan, OVERLAPPING)


def test_no_gradient_is_kept(slac):
    network = Threshold()
    predict(slac, network, in_memory(np.zeros((1, 4, 4), np.float32)))
    assert network.weight.grad is None


def test_ten_slices_are_ten_forward_passes(slac):
    network = Threshold()
    with ForwardPasses(network) as passes:
        predict(slac, network, in_memory(np.zeros((10, 6, 6), np.float32)))
    assert (passes.count, passes.head_count) == (10, 0)
    assert network.batches == [8, 2]


def test_a_method_that_asks_the_network_again_is_counted_twice(slac):
    network = Threshold()

    class Twice(type(slac)):
        def probabilities(self, logits):
            return (logits + network(torch.zeros(len(logits), 1, 6, 6))).softmax(1)

    with ForwardPasses(network) as passes:
        predict(Twice(CLASSES), network, in_memory(np.zeros((10, 6, 6), np.float32)))
    assert passes.count == 20


def test_without_a_network_there_is_no_forward_pass(scan):
    with ForwardPasses(None) as passes:
        predict(methods.load("oracle", CLASSES), None, scan)
    assert passes.count == 0


def test_counting_ends_with_its_block():
    network, images = Threshold(), torch.zeros(3, 1, 6, 5)
    passes = ForwardPasses(network)
    with passes:
        network(images)
    with pytest.raises(TypeError), passes:
        network(None)
    network(images)
    assert passes.count == 3


def test_windows_find_what_slices_find(slac, scan):
    """Of a network that looks at one voxel at a time."""
    slices = predict(slac, Threshold(), scan)
    for weights in ("uniform", "gaussian"):
        settings = of_windows(2, 12, 20, weights=weights)
        assert (predict(slac, Threshold(), scan, settings) != slices).mean() < 1e-3


def test_windows_overlap_by_half_unless_said(slac):
    """12 slices in windows of 4: five windows, four with a quarter, three with nothing."""
    network, scan = Threshold(), in_memory(random_image(12, 4, 4))
    for options, windows in (({}, 5), ({"overlap": 0.25}, 4), ({"overlap": 0}, 3)):
        with ForwardPasses(network) as passes:
            predict(slac, network, scan, of_windows(4, 4, 4, **options))
        assert passes.count == windows


def test_weights_are_gaussian_unless_said(plain):
    """A network of two windows that says class 1 left of the middle of a window.

    Voxels 4 to 7 lie in both windows: uniform weights leave a draw, and class 0 wins; by Gaussian
    weights the nearer window decides.
    """

    class Left(Threshold):
        def forward(self, images):
            left = (torch.arange(8) < 4).expand_as(images[:, 0]).float()
            return torch.stack([1 - left, left], dim=1)

    scan = in_memory(np.zeros((1, 12, 12), np.float32))
    gaussian = predict(plain, Left(), scan, of_windows(1, 12, 8))
    assert gaussian[0, 0].tolist() == [1, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0]
    uniform = predict(plain, Left(), scan, of_windows(1, 12, 8, weights="uniform"))
    assert uniform[0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]


def test_neighbours_reach_the_network_as_channels(plain, ramp):
    image = random_image(4, 6, 6)
    settings = {"input": {"kind": "slices", "neighbours": 1}}
    predict(plain, ramp, in_memory(image), settings)
    assert ramp.shapes == [(4, 3, 6, 6)]


def of_tiles(crop, **options):
    return {"input": {"kind": "slices", "neighbours": 0, "crop": crop}, "inference": options}


def test_four_tiles_of_a_slice_are_four_forward_passes(slac):
    """As PIPO-FAN predicts a slice of 256 x 256: tiles of 224, steps of 112."""
    network = Threshold()
    with ForwardPasses(network) as passes:
        predict(slac, network, in_memory(np.zeros((3, 256, 256), np.float32)), of_tiles(0.875))
    assert passes.count == 12
    assert network.batches == [8, 4]


def test_tiles_have_the_size_of_the_training_samples(plain, ramp):
    predict(plain, ramp, in_memory(random_image(1, 8, 12)), of_tiles(0.75))
    assert ramp.shapes == [(4, 1, 6, 9)]


@pytest.mark.parametrize("weights", ["uniform", "gaussian"])
def test_tiles_find_what_slices_find(slac, scan, weights):
    """Of a network that looks at one pixel at a time."""
    slices = predict(slac, Threshold(), scan)
    tiles = predict(slac, Threshold(), scan, of_tiles(0.6, weights=weights))
    assert (tiles != slices).mean() < 1e-3


def test_without_a_crop_slices_stay_whole(plain, ramp):
    predict(plain, ramp, in_memory(random_image(4, 6, 6)), of_tiles(None))
    assert ramp.shapes == [(4, 1, 6, 6)]


def test_flips_reach_the_prediction(plain, ramp):
    """Class 0 grows with x, class 1 with y; flipped along both, neither does: a draw."""
    scan = in_memory(np.ones((1, 3, 3), np.float32))
    assert predict(plain, ramp, scan)[0].tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    flipped = predict(plain, ramp, scan, {"inference": {"flips": [[1, 2]]}})
    assert not flipped.any()
    assert len(ramp.shapes) == 3


def test_slices_cannot_be_flipped_along_z(slac, scan):
    with pytest.raises(InputError, match=r"inference\.flips: \[\[2\], \[0, 1\]\] flips axis 0"):
        predict(slac, Threshold(), scan, {"inference": {"flips": [[2], [0, 1]]}})


def test_windows_can_be_flipped_along_z(slac, scan):
    network = Threshold()
    settings = of_windows(3, 32, 32, flips=[[0]])
    assert (predict(slac, network, scan, settings) == predict(slac, network, scan)).all()


def test_precision_reaches_the_network(slac):
    class Convolution(nn.Conv2d):
        def forward(self, images):
            logits = super().forward(images)
            self.seen = logits.dtype
            return logits

    network, scan = Convolution(1, CLASSES, 1), in_memory(random_image(1, 4, 4))
    predict(slac, network, scan, precision="bfloat16")
    assert network.seen == torch.bfloat16
    predict(slac, network, scan)
    assert network.seen == torch.float32


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (None, (1, 1, 32, 32)),
        ({"input": {"kind": "slices", "neighbours": 2}}, (1, 5, 32, 32)),
        ({"input": {"kind": "slices", "neighbours": 1, "crop": 0.875}}, (1, 3, 28, 28)),
        (of_windows(2, 8, 9), (1, 1, 2, 8, 9)),
    ],
)
def test_one_input_warms_up(plain, ramp, scan, settings, shape):
    warm_up(plain, ramp, scan, settings)
    assert ramp.shapes == [shape]


WITHOUT = """
import importlib.abc, sys
BLOCKED = {blocked}

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(name + " is not installed")

sys.meta_path.insert(0, Blocker())
import numpy as np, torch
from types import SimpleNamespace
from piecemeal import methods
from piecemeal.datasets.grid import Geometry
from piecemeal.inference import predict

image = np.zeros((3, 8, 8), np.float32)
geometry = Geometry((3, 5, 6), (5, 2, 2), np.eye(4), (4, 1.5, 1.5), image.shape)
scan = SimpleNamespace(image=image, labels=image.astype(np.uint8), geometry=geometry)
slac = methods.load("slac", 2)
window = {{"input": {{"kind": "patches", "size": [2, 4, 4]}}}}
assert predict(slac, torch.nn.Conv2d(1, 2, 1), scan).shape == (3, 5, 6)
assert predict(slac, torch.nn.Conv3d(1, 2, 1), scan, window).shape == (3, 5, 6)
assert predict(methods.load("oracle", 2), None, scan).shape == (3, 5, 6)
"""


def test_prediction_needs_torch_and_numpy_only():
    blocked = {"pandas", "scipy", "nibabel", "pydantic", "monai", "yaml", "numba", "jinja2"}
    blocked |= {"matplotlib", "snakemake"}
    code = WITHOUT.format(blocked=blocked)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
