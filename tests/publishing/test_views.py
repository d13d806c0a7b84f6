from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from piecemeal.datasets.grid import Geometry
from piecemeal.errors import InputError
from piecemeal.publishing import style
from piecemeal.publishing.trained import Trained
from piecemeal.publishing.views import HEADINGS, Look, look_at, view_rows

STRUCTURES = ["liver", "kidney", "spleen"]


class Views(NamedTuple):
    strong: tuple[Tensor, Tensor]
    boxes: tuple[Tensor, Tensor]
    partners: Tensor


class Targets(NamedTuple):
    codes: Tensor
    confidence: Tensor
    sets: Tensor


class Paster:
    """Pastes the upper row at three of four draws; is surer the brighter the image."""

    def __init__(self):
        self.seeds = []

    def views(self, weak):
        self.seeds.append(torch.initial_seed())
        box = torch.zeros(weak[:, 0].shape, dtype=torch.bool)
        box[:, 0] = torch.rand(()) < 0.75
        partners = torch.tensor([1, 0])
        pasted = torch.where(box[:, None], weak[partners], weak)
        return Views((pasted, weak + 1), (box, torch.zeros_like(box)), partners)

    def threshold(self, done):
        return 0.5 + 0.4 * done

    def targets(self, logits, sets, views):
        own = Targets((logits[:, 1] > 0).long(), logits[:, 0], sets)
        first = own._replace(codes=torch.ones_like(own.codes))
        return own, first, own, own


class Looking(nn.Module):
    """The slice itself, and what is bright in it."""

    def forward(self, images):
        return torch.stack([images[:, 1], images[:, 1] - 0.93], dim=1)


def run_of(method, crop=None):
    settings = {"structures": STRUCTURES, "classes": 4, "method": "mos", "implementation": "m"}
    settings["input"] = {"kind": "slices", "neighbours": 1, "crop": crop}
    return Trained(settings, method, Looking())


def scan_of(bright, declared=("kidney",)):
    """Three slices of 4 x 6 pixels of 2 x 1 mm; a structure in the left half of the middle one."""
    image = np.zeros((3, 4, 6), np.float32)
    image[1] = np.linspace(bright, 1, 24, dtype=np.float32).reshape(4, 6)
    labels = np.zeros(image.shape, np.uint8)
    labels[1, :, :3] = 2
    geometry = Geometry(image.shape, (5, 2, 1), np.eye(4), (5.0, 2.0, 1.0), image.shape)
    record = {"declared": list(declared)}
    folder = Path("kits/case_7")
    return SimpleNamespace(
        image=image, labels=labels, record=record, geometry=geometry, folder=folder
    )


def test_the_slice_with_most_foreground_is_shown():
    scan = scan_of(0.5)
    look = look_at(run_of(Paster()), "KiTS", scan, scan_of(0.9))
    np.testing.assert_array_equal(look.weak, scan.image[1])
    np.testing.assert_array_equal(look.reference, scan.labels[1])
    assert look.shown == "case_7, slice 2"
    assert (look.spacing_yx, look.proportion) == ((2.0, 1.0), pytest.approx(8 / 6))


def test_the_middle_of_the_slice_has_the_size_of_a_training_sample():
    scan = scan_of(0.5)
    look = look_at(run_of(Paster(), crop=0.5), "KiTS", scan, scan_of(0.9))
    np.testing.assert_array_equal(look.weak, scan.image[1, 1:3, 1:4])
    np.testing.assert_array_equal(look.reference, [[2, 2, 0]] * 2)


def test_a_box_shows_the_partner():
    scan, partner = scan_of(0.5), scan_of(0.9)
    look = look_at(run_of(Paster()), "KiTS", scan, partner)
    assert look.boxes.any(axis=(1, 2)).tolist() == [True, False]
    np.testing.assert_array_equal(look.strong[0, 0], partner.image[1, 0])
    np.testing.assert_array_equal(look.strong[0, 1:], scan.image[1, 1:])
    np.testing.assert_allclose(look.strong[1], scan.image[1] + 1)


def test_views_are_drawn_until_there_is_a_box_and_torch_s_own_numbers_stay():
    """Of the first seed that pastes nothing the next one is tried."""
    coins = []
    for seed in range(40):
        torch.manual_seed(seed)
        coins.append(bool(torch.rand(()) < 0.75))
    start = coins.index(False)
    stop = coins.index(True, start)
    method, state = Paster(), torch.get_rng_state()
    look_at(run_of(method), "KiTS", scan_of(0.5), scan_of(0.9), first_seed=start)
    assert method.seeds == list(range(start, stop + 1))
    assert torch.equal(torch.get_rng_state(), state)


def test_codes_become_classes_of_the_structures_that_were_drawn():
    """Kidney alone was drawn: code 1 is class 2, code 0 the others and the background."""
    look = look_at(run_of(Paster()), "KiTS", scan_of(0.5), scan_of(0.9))
    assert look.declared == [2]
    np.testing.assert_array_equal(look.pseudo, 2 * (look.weak > 0.93))
    assert (look.targets == 2).all()
    assert look.lowest == 0.5


def test_what_is_accepted_is_decided_by_the_threshold_at_the_end_of_the_training():
    look = look_at(run_of(Paster()), "KiTS", scan_of(0.5), scan_of(0.9))
    assert look.threshold == pytest.approx(0.9)
    np.testing.assert_array_equal(look.accepted, look.weak >= np.float32(0.9))
    np.testing.assert_array_equal(look.confidence, look.weak)


def test_a_method_without_views_is_refused():
    with pytest.raises(InputError, match="shows 'mos', whose method 'm' makes none; name another"):
        look_at(run_of(SimpleNamespace()), "KiTS", scan_of(0.5), scan_of(0.9))


@pytest.fixture
def look():
    """20 x 30 pixels: class 1 in the left 10 columns, a box in the upper half of view 1."""
    image = np.add.outer(np.arange(20.0), np.arange(30.0))
    classes, box = np.zeros((20, 30), int), np.zeros((20, 30), bool)
    classes[:, :10], box[:10, 3:] = 1, True
    confidence = np.where(np.arange(30) < 6, 0.7, 0.95) * np.ones((20, 1))
    return Look(
        **{"title": "Liver", "shown": "liver_2, slice 9", "weak": image},
        **{"strong": np.stack([image + 1, image]), "boxes": np.stack([box, np.zeros_like(box)])},
        **{"confidence": confidence, "lowest": 0.5, "threshold": 0.9, "pseudo": classes},
        **{"targets": classes, "accepted": confidence >= 0.9, "reference": classes},
        **{"declared": [1], "spacing_yx": (1.0, 1.0)},
    )


def test_under_the_pictures_stands_what_they_show(look):
    pasted = ["45% pasted", "nothing pasted"]
    assert look.under == [look.shown, *pasted, "80% accepted", "Dice 1.000", "80% accepted"]


def test_a_row_has_a_picture_under_every_heading(look):
    figure = view_rows([look, look], STRUCTURES, "phantom")
    assert len(figure.axes) == 2 * len(HEADINGS) + 1
    said = {text.get_text() for text in figure.texts}
    assert {*HEADINGS, *look.under, "Liver", "phantom"} <= said


def test_boxes_are_outlined_where_they_are(look):
    figure = view_rows([look], STRUCTURES)
    with_box = {HEADINGS.index(name) for name in ("strong view 1", "targets of stream 1")}
    for number, axes in enumerate(figure.axes[: len(HEADINGS)]):
        found = [(*p.get_xy(), p.get_width(), p.get_height()) for p in axes.patches]
        assert found == ([(2.5, -0.5, 27, 10)] if number in with_box else [])


def test_what_is_not_accepted_is_grey_in_the_targets_only(look):
    figure = view_rows([look], STRUCTURES)
    *_, pseudo, targets = (axes.images[-1].get_array() for axes in figure.axes[: len(HEADINGS)])
    grey = (targets[..., 0] == targets[..., 1]) & (targets[..., 3] > 0.8)
    np.testing.assert_array_equal(grey, ~look.accepted)
    assert not (pseudo[..., 3] > 0.8).any()


def test_nothing_overlaps(look):
    long = "Medical Segmentation Decathlon, Task03_Liver"
    figure = view_rows([look, look], STRUCTURES, "phantom")
    titled = view_rows([Look(**vars(look) | {"title": long})], STRUCTURES, "phantom")
    for shown in (figure, titled):
        shown.draw_without_rendering()
        renderer = shown.canvas.get_renderer()
        pictures = shown.axes[:-1]  # the scale of the confidence has its numbers under it
        boxes = [t.get_window_extent(renderer) for t in [*pictures, *shown.texts, *shown.legends]]
        boxes.append(shown.axes[-1].get_tightbbox(renderer))
        for i, first in enumerate(boxes):
            assert not any(first.overlaps(second) for second in boxes[i + 1 :])


def test_same_input_same_bytes(look, tmp_path):
    drawn = [view_rows([look], STRUCTURES, "phantom") for _ in range(2)]
    written = [style.save(figure, tmp_path / str(i)) for i, figure in enumerate(drawn)]
    first, second = ([path.read_bytes() for path in paths] for paths in written)
    assert first == second
