"""UniMOS (Li et al. 2023): strong views, pseudo-labels, and what they are worth."""

import math

import pytest
import torch

from piecemeal import methods, networks
from piecemeal.errors import InputError
from piecemeal.methods import _views
from piecemeal.methods._views import Views, draw_boxes, make_views, strong_view, weak_view
from piecemeal.methods.unimos import Targets, paste

# Drawn or not drawn; of the kidneys the other way round. NOTHING: of an unlabelled case.
LIVER = torch.tensor([[0, 1, 0, 0], [1, 0, 1, 1], [1, 1, 1, 1]]).bool()
KIDNEY = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]).bool()
NOTHING = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]).bool()
ANY = [[0.0, 0.0]]  # thresholds that accept all pseudo-labels


def unimos(**options):
    return methods.load("unimos", 4, options)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return networks.build("pipo_fan", 3, 4, width=2)


def make_batch(labelled: int, unlabelled: int, size: int = 32):
    """A bright liver in noise; labelled and unlabelled rows by turns while there are both."""
    rows = labelled + unlabelled
    codes = torch.ones(rows, size, size, dtype=torch.uint8)
    codes[:, 8:22, 10:26] = 0
    noise = torch.randn(rows, 3, size, size, generator=torch.Generator().manual_seed(1))
    images = 0.2 * noise + 1.2 * (codes == 0)[:, None] - 0.6
    sets = torch.stack(labelled * [LIVER] + unlabelled * [NOTHING])
    order = sorted(range(rows), key=lambda row: row - labelled * (row >= labelled))
    codes[labelled:] = 0
    return images[order], codes[order], sets[order]


class Forward:
    """A network, and what it gave, one call after the other."""

    def __init__(self, network):
        self.network, self.outputs = network, []

    def __call__(self, *arguments, **options):
        self.outputs.append(self.network(*arguments, **options))
        return self.outputs[-1]


def by_image(images, output="segmentation", kept=0):
    """Logits that are a function of the voxel alone: the liver where it is bright."""
    bright = 20 * images[:, :1]
    logits = torch.cat([torch.zeros_like(bright), bright, bright - 30, bright - 40], dim=1)
    return logits if output == "segmentation" else (logits, logits[kept:])


@pytest.fixture
def plain_views(monkeypatch):
    """Strong views are the weak ones: no jitter, no blur, no box."""
    for name in ("JITTER", "BLUR", "CUT"):
        monkeypatch.setattr(_views, name, 0.0)


def test_only_unlabelled_images_are_weakly_disturbed(network):
    """The labelled ones reach the network as they are, in their order."""
    images, codes, sets = make_batch(3, 3)
    seen = []

    def forward(given, **options):
        seen.append(given)
        return network(given, **options)

    torch.manual_seed(0)
    unimos().training_loss(forward, images, codes, sets, 0.0)
    assert torch.equal(seen[0][:3], images[::2])
    weak, unlabelled = seen[0][3:], images[1::2]
    assert not torch.equal(weak, unlabelled)
    torch.manual_seed(0)
    assert torch.equal(weak, weak_view(unlabelled))


@pytest.mark.parametrize(("space", "ways"), [((6, 6), 8), ((6, 4), 4)])
def test_weak_views_are_flips_and_turns_alike_likely(space, ways):
    """A square has eight, whatever they are made of, and a rectangle four that fit into it."""
    torch.manual_seed(0)
    image = torch.arange(2.0 * space[0] * space[1]).view(1, 2, *space)
    views = weak_view(image.expand(2000, -1, -1, -1))
    counts = {}
    for view in views:
        assert torch.equal(view[1] - view[0], torch.full(space, float(space[0] * space[1])))
        assert torch.equal(view.flatten().sort().values, image.flatten())
        key = tuple(view[0].flatten().int().tolist())
        counts[key] = counts.get(key, 0) + 1
    possible = set()
    for turned in (image[0, 0].rot90(k) for k in range(4)):
        for way in (turned, turned.flip(0)):
            if way.shape == space:
                possible.add(tuple(way.flatten().int().tolist()))
    assert counts.keys() == possible
    assert len(possible) == ways
    assert all(abs(n / 2000 - 1 / ways) < 0.045 for n in counts.values())


def test_thresholds_rise_with_the_training():
    method = unimos()
    found = [method.threshold(done) for done in (0, 0.279, 0.28, 0.559, 0.56, 0.999)]
    assert found == [0.7, 0.7, 0.8, 0.8, 0.9, 0.9]


@pytest.mark.parametrize(
    "thresholds", [[], [0.7], [[0.1, 0.7]], [[0.0, 0.7], [0.0, 0.8]], [[0.0, 1.7]], [[0.0]]]
)
def test_impossible_thresholds_are_refused(thresholds):
    with pytest.raises(InputError, match=r"unimos: thresholds is .*; expected pairs"):
        unimos(thresholds=thresholds)


def logits_of(*chances: list[float]) -> torch.Tensor:
    """(1, C, 1, voxels) whose softmax is `chances`, one list a voxel."""
    return torch.tensor(chances).log().T[None, :, None, :]


def test_a_pseudo_label_is_the_likelier_answer_to_the_question():
    """The classes that were not drawn count together, and what is known to be any never wins."""
    logits = logits_of([0.1, 0.6, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1])
    codes, confidence = unimos().pseudo_labels(logits, LIVER[None])
    assert codes.tolist() == [[[0, 1]]]
    torch.testing.assert_close(confidence, torch.tensor([[[0.6, 0.6]]]))
    codes, confidence = unimos().pseudo_labels(logits, KIDNEY[None])
    assert codes.tolist() == [[[0, 0]]]
    torch.testing.assert_close(confidence, torch.tensor([[[0.8, 0.8]]]))


def test_pseudo_labels_carry_no_gradient():
    logits = torch.randn(2, 4, 3, 3, requires_grad=True)
    codes, confidence = unimos().pseudo_labels(logits.bfloat16(), LIVER.expand(2, -1, -1))
    assert codes.dtype == torch.int64
    assert confidence.dtype == torch.float32
    assert not confidence.requires_grad


def voxels(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, -1)


def test_a_pasted_region_takes_label_and_confidence_of_its_partner():
    """Also where the partner was asked of another structure; what is around it stays."""
    own = Targets(voxels(0, 1, 0, 1), voxels(0.9, 0.8, 0.7, 0.6), LIVER[None])
    theirs = Targets(voxels(0, 0, 1, 1), voxels(0.1, 0.2, 0.3, 0.4), KIDNEY[None])
    found = paste(own, theirs, voxels(False, True, True, False))
    torch.testing.assert_close(found.confidence, voxels(0.9, 0.2, 0.3, 0.6))
    sets = found.sets[0, found.codes.flatten()]
    assert torch.equal(sets, torch.stack([LIVER[0], KIDNEY[0], KIDNEY[1], LIVER[1]]))


def boxed(*boxes: torch.Tensor) -> Views:
    """Views of two images of one line, each the other's partner."""
    nowhere = torch.zeros(2, 1, 4, dtype=torch.bool)
    boxes = [nowhere if box is None else nowhere | box for box in boxes]
    strong = torch.zeros(2, 3, 1, 4)
    return Views((strong, strong), (boxes[0], boxes[1]), torch.tensor([1, 0]))


def test_every_stream_has_its_own_targets():
    """Two images, of which one was asked of the liver and one of the kidneys."""
    logits = torch.randn(2, 4, 1, 4, generator=torch.Generator().manual_seed(0))
    box = voxels(False, True, True, False)
    weak, first, second, disturbed = unimos().targets(
        logits, torch.stack([LIVER, KIDNEY]), boxed(box, None)
    )
    for row, partner in ((0, 1), (1, 0)):
        inside = (torch.tensor([1, 2]), partner, first)
        outside = (torch.tensor([0, 3]), row, first)
        everywhere = (torch.arange(4), row, second)
        for places, source, stream in (inside, outside, everywhere):
            sets = stream.sets[row, stream.codes[row, 0, places]]
            assert torch.equal(sets, weak.sets[source, weak.codes[source, 0, places]])
            given = weak.confidence[source, 0, places]
            assert torch.equal(stream.confidence[row, 0, places], given)
    assert disturbed is weak


def test_an_empty_box_leaves_the_weak_targets():
    logits = torch.randn(2, 4, 1, 4)
    weak, first, *_ = unimos().targets(logits, LIVER.expand(2, -1, -1), boxed(None, None))
    assert torch.equal(first.codes, weak.codes)
    assert torch.equal(first.confidence, weak.confidence)


def test_as_released_all_streams_share_both_boxes_and_they_never_pass():
    """However sure the prediction is: e / (e + 3) of four classes."""
    logits = 50 * torch.eye(4)[torch.tensor([1, 0, 2, 3])].T.view(1, 4, 1, 4).expand(2, -1, -1, -1)
    one, two = voxels(True, False, False, False), voxels(False, False, True, False)
    weak, *streams = unimos(as_released=True).targets(
        logits, LIVER.expand(2, -1, -1), boxed(one, two)
    )
    assert (weak.confidence > 0.99).all()
    for stream in streams:
        found = stream.confidence[0, 0].tolist()
        assert found == pytest.approx([math.e / (math.e + 3), 1, math.e / (math.e + 3), 1])
        assert (found[0] < 0.7, found[1] > 0.9) == (True, True)
        assert torch.equal(stream.sets[0, stream.codes[0, 0]], LIVER[[0, 1, 1, 1]])


def test_loss_by_hand(plain_views):
    """Voxels of q_1 = .95, .75, .4 and .1, of which the liver's threshold of .8 takes two.

    Of all four voxels the mean is taken, and all three streams see the same.
    """
    chances = [0.95, 0.75, 0.4, 0.1]
    logits = logits_of(*([(1 - q) / 2, q, (1 - q) / 4, (1 - q) / 4] for q in chances))

    def forward(images, output="segmentation", kept=0):
        rows = logits.expand(len(images), -1, -1, -1)
        return rows if output == "segmentation" else (rows, rows[kept:])

    images = torch.zeros(2, 3, 1, 4)
    codes = torch.tensor([0, 0, 1, 1]).view(1, 1, 4).expand(2, -1, -1)
    method = unimos(thresholds=[[0.0, 0.8]], background=0.2, target=1.2)
    loss = method.training_loss(forward, images, codes, torch.stack([LIVER, NOTHING]), 0.0)
    supervised = 1.2 * (-math.log(0.95) - math.log(0.75)) + 0.2 * (-math.log(0.6) - math.log(0.9))
    unsupervised = -1.2 * math.log(0.95) - 0.2 * math.log(0.9)
    assert loss.item() == pytest.approx(0.5 * supervised / 2.8 + 0.5 * unsupervised / 4)
    notes = {name: value.item() for name, value in method.notes.items()}
    assert notes == pytest.approx({"accepted": 0.5, "accepted_pasted": 0.5, "threshold": 0.8})


SURE, UNSURE = [0.02, 0.95, 0.02, 0.01], [0.2, 0.6, 0.1, 0.1]


@pytest.mark.parametrize(
    ("weak", "student", "consistency"), [(SURE, UNSURE, -1.2 * math.log(0.6)), (UNSURE, SURE, 0.0)]
)
def test_the_confidence_is_that_of_the_weak_view(plain_views, weak, student, consistency):
    """Equations 2 and 3 of the paper take that of the strong views, which its text does not."""

    def forward(images, output="segmentation", kept=0):
        rows = logits_of(weak).expand(len(images), -1, -1, -1)
        disturbed = logits_of(student).expand(len(images), -1, -1, -1)
        return disturbed if output == "segmentation" else (rows, disturbed[kept:])

    method = unimos(thresholds=[[0.0, 0.8]], background=0.2, target=1.2)
    codes, sets = torch.zeros(2, 1, 1, dtype=torch.uint8), torch.stack([LIVER, NOTHING])
    loss = method.training_loss(forward, torch.zeros(2, 3, 1, 1), codes, sets, 0.0)
    supervised = -math.log(weak[1])  # a weighted mean
    assert loss.item() == pytest.approx(0.5 * supervised + 0.5 * consistency)
    alone = method.training_loss(forward, torch.zeros(1, 3, 1, 1), codes[1:], sets[1:], 0.0)
    assert (alone.item() > 0) == (consistency > 0)


@pytest.mark.parametrize("as_released", [False, True])
def test_without_confidence_half_the_labelled_loss_is_left(network, as_released):
    method, forward = unimos(thresholds=[[0.0, 1.0]], as_released=as_released), Forward(network)
    images, codes, sets = make_batch(3, 2)
    loss = method.training_loss(forward, images, codes, sets, 0.0)
    known = torch.tensor([True, False, True, False, True])
    logits = forward.outputs[0][0][:3]
    assert torch.equal(loss, 0.5 * method.loss(logits, codes[known], sets[known]))
    assert method.notes["accepted"] == 0


def test_the_same_seed_gives_the_same_loss(network):
    method, batch = unimos(thresholds=ANY), make_batch(2, 2)

    def seeded(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return method.training_loss(network, *batch, 0.0)

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))


@pytest.mark.parametrize("as_released", [False, True])
def test_the_two_strong_views_are_alike(network, monkeypatch, as_released):
    method, batch = unimos(thresholds=ANY, as_released=as_released), make_batch(2, 2)
    network.eval()

    def seeded() -> torch.Tensor:
        torch.manual_seed(3)
        return method.training_loss(network, *batch, 0.0)

    loss = seeded()

    def swapped(weak):
        views = make_views(weak, as_released)
        return Views(views.strong[::-1], views.boxes[::-1], views.partners)

    monkeypatch.setattr(method, "views", swapped)
    torch.testing.assert_close(seeded(), loss)


def test_labelled_rows_alone(network):
    method, batch = unimos(), make_batch(3, 0)
    loss = method.training_loss(network, *batch, 0.3)
    torch.testing.assert_close(loss, 0.5 * method.loss(network(batch[0]), *batch[1:]))
    notes = {name: value.item() for name, value in method.notes.items()}
    assert notes == pytest.approx({"accepted": 0, "accepted_pasted": 0, "threshold": 0.8})


def test_unlabelled_rows_alone_are_asked_of_each_class(plain_views):
    """Logits of bright voxels favour class 1, of dark ones class 0, each alone."""
    images = torch.tensor([0.5, -0.5, 0.1]).view(1, 1, 1, 3).expand(2, 3, 1, 3)
    method = unimos(thresholds=ANY, background=1, target=1)
    codes, sets = torch.zeros(2, 1, 3, dtype=torch.uint8), NOTHING.expand(2, -1, -1)
    loss = method.training_loss(by_image, images, codes, sets, 0.0)
    likeliest = by_image(images).softmax(1).amax(1)
    torch.testing.assert_close(loss, -0.5 * likeliest.log().mean())


def test_unlabelled_rows_are_asked_what_the_labelled_ones_were(plain_views, monkeypatch):
    method, asked = unimos(), []

    def remembered(logits, sets):
        asked.append(sets)
        return type(method).pseudo_labels(method, logits, sets)

    monkeypatch.setattr(method, "pseudo_labels", remembered)
    sets = torch.stack([NOTHING, LIVER, NOTHING, KIDNEY, NOTHING])
    codes = torch.zeros(5, 2, 2, dtype=torch.uint8)
    method.training_loss(by_image, torch.zeros(5, 3, 2, 2), codes, sets, 0.0)
    assert torch.equal(asked[0], torch.stack([LIVER, KIDNEY, LIVER]))


def accepted_in_boxes(as_released: bool) -> tuple[float, float]:
    method, batch = unimos(as_released=as_released), make_batch(2, 8)
    torch.manual_seed(0)
    method.training_loss(by_image, *batch, 0.0)
    return method.notes["accepted"].item(), method.notes["accepted_pasted"].item()


def test_what_is_accepted_in_boxes_is_noted():
    everywhere, pasted = accepted_in_boxes(as_released=False)
    assert everywhere > 0.9
    assert pasted > 0.9
    everywhere, pasted = accepted_in_boxes(as_released=True)
    assert everywhere > 0.9
    assert pasted == 0


@pytest.mark.parametrize("as_released", [False, True])
def test_without_any_box_the_partners_stand_for_what_it_would_show(plain_views, as_released):
    everywhere, pasted = accepted_in_boxes(as_released)
    assert pasted == (0 if as_released else everywhere)


def test_pasted_regions_are_of_the_partner(monkeypatch):
    """Of the same strong view: images of one grey each show which."""
    for name, chance in (("JITTER", 0.0), ("BLUR", 0.0), ("CUT", 1.0)):
        monkeypatch.setattr(_views, name, chance)
    greys = torch.tensor([-0.5, 0.0, 0.5]).view(3, 1, 1, 1)
    views = make_views(greys.expand(3, 2, 20, 30))
    assert views.partners.tolist() == [1, 2, 0]
    for strong, box in zip(views.strong, views.boxes, strict=True):
        assert (box.flatten(1).sum(1) > 0).all()
        wanted = torch.where(box[:, None], greys.roll(-1, 0), greys)
        torch.testing.assert_close(strong, wanted.expand_as(strong))
    assert not torch.equal(*views.boxes)


def test_each_strong_view_meets_its_own_targets(monkeypatch):
    """What is predicted is a function of the voxel alone, so that image and label are cut alike."""
    for name, chance in (("JITTER", 0.0), ("BLUR", 0.0), ("CUT", 1.0)):
        monkeypatch.setattr(_views, name, chance)
    images = (torch.rand(4, 1, 20, 20) < 0.5).float().expand(-1, 3, -1, -1) - 0.5
    codes, sets = torch.zeros(4, 20, 20, dtype=torch.uint8), NOTHING.expand(4, -1, -1)
    loss = unimos().training_loss(by_image, images, codes, sets, 0.0)
    assert 0 < loss < 1e-3


def test_boxes_are_of_their_area_and_aspect():
    torch.manual_seed(0)
    boxes = draw_boxes(1000, (100, 140))
    height, width = boxes.any(2).sum(1), boxes.any(1).sum(1)
    area = boxes.flatten(1).sum(1)
    assert torch.equal(area, height * width)  # one rectangle
    cut = area > 0
    assert cut.float().mean().item() == pytest.approx(0.5, abs=0.05)
    share = area[cut] / 14000
    assert 0.015 < share.min() < 0.03 < 0.38 < share.max() <= 0.4
    aspect = (height / width)[cut]
    assert 0.28 < aspect.min() < 0.35 < 3 < aspect.max() < 3.6


def test_a_plane_too_small_for_a_box_is_not_cut():
    assert not draw_boxes(50, (1, 1)).any()


def weak_images(images: int = 200) -> torch.Tensor:
    """Two alike channels of noise that fills [-1, 1]."""
    noise = torch.rand(images, 1, 9, 9, generator=torch.Generator().manual_seed(2))
    return (2 * noise - 1).expand(-1, 2, -1, -1)


@pytest.mark.parametrize(("as_released", "lowest"), [(False, -1), (True, 0)])
def test_strong_views_keep_their_range(as_released, lowest):
    torch.manual_seed(0)
    found = strong_view(weak_images(), as_released)
    assert lowest <= found.min() < lowest + 0.01
    assert 0.99 < found.max() <= 1


def test_the_slices_of_a_block_are_changed_alike():
    found = strong_view(weak_images())
    assert torch.equal(found[:, 0], found[:, 1])


def test_what_neither_coin_chooses_stays():
    torch.manual_seed(0)
    weak = weak_images(1000)
    kept = (strong_view(weak) - weak).flatten(1).abs().amax(1) < 1e-5
    assert kept.float().mean().item() == pytest.approx(0.2 * 0.5, abs=0.03)


def test_released_views_are_8_bit_images_of_the_positive_part(plain_views):
    weak = torch.tensor([-0.7, 0.0, 0.3, 1.0]).view(1, 1, 1, 4)
    found = strong_view(weak, as_released=True).flatten().tolist()
    assert found == pytest.approx([0, 0, 76 / 255, 1])  # 0.3 * 255 = 76.5
    torch.testing.assert_close(strong_view(weak), weak)


def test_jitter_by_hand(monkeypatch):
    """Of 0.2 and 0.6 in [0, 1], both factors 1.5.

    Brightness first: 0.3 and 0.9, then about their mean of 0.6: 0.15 and 1.05, cut off. Contrast
    first: about 0.4, 0.1 and 0.7, then 0.15 and 1.05.
    """
    monkeypatch.setattr(_views, "JITTER", 1.0)
    monkeypatch.setattr(_views, "BLUR", 0.0)
    monkeypatch.setattr(_views, "FACTOR", (1.5, 1.5))
    weak = 2 * torch.tensor([0.2, 0.6]).view(1, 1, 1, 2) - 1
    found = (strong_view(weak).flatten() + 1) / 2
    torch.testing.assert_close(found, torch.tensor([0.15, 1.0]))


def test_brightness_and_contrast_come_in_either_order(monkeypatch):
    """Of 0.5 and 0.9, factors 1.5. Brightness first, cut off: 0.75 and 1, then 0.6875 and 1.

    Contrast first: 0.4 and 1, then 0.6 and 1.
    """
    monkeypatch.setattr(_views, "JITTER", 1.0)
    monkeypatch.setattr(_views, "BLUR", 0.0)
    monkeypatch.setattr(_views, "FACTOR", (1.5, 1.5))
    torch.manual_seed(0)
    weak = 2 * torch.tensor([0.5, 0.9]).view(1, 1, 1, 2).expand(400, -1, -1, -1) - 1
    found = (strong_view(weak)[:, 0, 0, 0] + 1) / 2
    brighter_first = (found - 0.6875).abs() < 1e-5
    assert (brighter_first | ((found - 0.6).abs() < 1e-5)).all()
    assert brighter_first.float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_the_network_disturbs_features_or_as_released_logits(network):
    for as_released, output in ((False, "disturbed"), (True, "disturbed_maps")):
        calls = []

        def forward(images, calls=calls, **options):
            calls.append((len(images), options))
            return network(images, **options)

        unimos(as_released=as_released).training_loss(forward, *make_batch(3, 2), 0.0)
        assert calls == [(5, {"output": output, "kept": 3}), (4, {})]


@pytest.mark.parametrize("as_released", [False, True])
@pytest.mark.parametrize("rows", [(2, 2), (0, 2), (2, 0)])
def test_every_weight_has_a_gradient(network, rows, as_released):
    method = unimos(thresholds=ANY, as_released=as_released)
    method.training_loss(network, *make_batch(*rows), 0.0).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("as_released", [False, True])
def test_learns_from_labelled_and_unlabelled_rows(network, as_released):
    """All rows show the liver in one place; only half of them say so."""
    method, (images, codes, sets) = unimos(as_released=as_released), make_batch(2, 2)
    truth = codes[:1].expand(4, -1, -1), LIVER.expand(4, -1, -1)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.03)
    before, accepted = method.loss(network(images), *truth).item(), 0.0
    for step in range(25):
        torch.manual_seed(step)
        loss = method.training_loss(network, images, codes, sets, step / 25)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        accepted += method.notes["accepted"].item() / 25
    assert accepted > 0.05
    after = method.loss(network(images), *truth)
    assert after < 0.5 * before
