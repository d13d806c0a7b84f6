"""A weakly and two strongly disturbed views of unlabelled images.

Weak ones are flipped and turned (Li et al. 2023). Strong ones, after UniMatch (Yang et al., CVPR
2023), are weak ones with colour jitter and Gaussian blur, in [0, 1], then CutMix. Of the colour
jitter only brightness and contrast are left: saturation, hue and grey scale do nothing to one
channel. The channels of an image are neighbouring slices and share all parameters (the released
code of UniMOS draws them for every slice). All numbers come from torch's own generator on the CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from piecemeal.intensities import blur, brightness, contrast

JITTER, FACTOR = 0.8, (0.5, 1.5)  # probability; what brightness and contrast are multiplied by
BLUR, SIGMA = 0.5, (0.1, 2.0)  # probability; voxels
REACH = 8  # voxels at which a blur is cut off: four times the largest sigma
CUT, AREA = 0.5, (0.02, 0.4)  # probability; share of the plane
ASPECT = (0.3, 1 / 0.3)  # height over width
TRIES = 256  # boxes drawn until one fits into the plane; one of the largest does at 6 tries of 100


class Views(NamedTuple):
    """What is made of the weak views (B, channels, H, W).

    strong: two times (B, channels, H, W), boxes of the partners pasted in; boxes: where, two times
    bool (B, H, W), nowhere in images that were not cut; partners (B,): row that the boxes of every
    row are from.
    """

    strong: tuple[Tensor, Tensor]
    boxes: tuple[Tensor, Tensor]
    partners: Tensor


def weak_view(images: Tensor) -> Tensor:
    """`images` (B, channels, H, W), each flipped along either axis and turned, all by chance.

    A flip has a probability of one half, each quarter turn from none to three is as likely; a turn
    of an image that is not square is by none or two.
    """
    flipped = torch.rand(2, len(images)) < 0.5
    for coins, axis in zip(flipped, (-2, -1), strict=True):
        images = torch.where(_column(coins, images), images.flip(axis), images)
    step = 1 if images.shape[-1] == images.shape[-2] else 2
    turns = _column(torch.randint(4, (len(images),)) // step * step, images)
    turned = images
    for quarters in range(step, 4, step):
        turned = torch.where(turns == quarters, images.rot90(quarters, (-2, -1)), turned)
    return turned


def make_views(weak: Tensor, as_released: bool = False) -> Views:
    """Two strong views of `weak` (B, channels, H, W) in [-1, 1], drawn independently.

    Each image has the next one as its partner, the last one the first; of one image alone the box
    is its own. as_released: see `strong_view`.
    """
    partners = torch.arange(len(weak), device=weak.device).roll(-1)
    views = [strong_view(weak, as_released) for _ in range(2)]
    boxes = [draw_boxes(len(weak), weak.shape[2:], weak.device) for _ in range(2)]
    cut = [
        torch.where(box[:, None], view[partners], view)
        for view, box in zip(views, boxes, strict=True)
    ]
    return Views((cut[0], cut[1]), (boxes[0], boxes[1]), partners)


def strong_view(weak: Tensor, as_released: bool = False) -> Tensor:
    """Jitter and blur `weak` (B, channels, H, W); what is outside [-1, 1] is cut off.

    as_released: the released code makes 8-bit images of data in [-1, 1] as if they were in [0, 1],
    which blackens all that is negative, and leaves the view in [0, 1].
    """
    if as_released:
        return _disturbed((weak.clamp(0, 1) * 255).floor() / 255)
    return 2 * _disturbed((weak.clamp(-1, 1) + 1) / 2) - 1


def draw_boxes(images: int, space: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Where every image is cut: one rectangle or none, bool (images, H, W) on `device`.

    Area and coin are drawn once; shape and place again until the rectangle fits (an image of which
    none does is not cut).
    """
    cut = torch.rand(images, 1) < CUT
    area = _uniform(AREA, images, 1) * space[0] * space[1]
    aspect = _uniform(ASPECT, images, TRIES)
    fits, sides = cut, []
    for length, side in zip(space, ((area * aspect).sqrt(), (area / aspect).sqrt()), strict=True):
        first = (torch.rand(images, TRIES) * length).floor()
        sides.append((first, first + side.floor()))
        fits = fits & (sides[-1][1] <= length)
    chosen = fits.byte().argmax(dim=1, keepdim=True)  # the first that fits
    fits, *ends = (
        drawn.gather(1, chosen).to(device, non_blocking=True)
        for drawn in (fits, *(end for side in sides for end in side))
    )
    places = [torch.arange(length, device=device) for length in space]
    rows = fits & (places[0] >= ends[0]) & (places[0] < ends[1])
    columns = (places[1] >= ends[2]) & (places[1] < ends[3])
    return rows[:, :, None] & columns[:, None, :]


def _disturbed(images: Tensor) -> Tensor:
    """Images (B, channels, H, W) in [0, 1], jittered and blurred, in [0, 1]."""
    coins = torch.rand(3, len(images))
    factors = [_column(row, images) for row in _uniform(FACTOR, 2, len(images))]
    sigma = _uniform(SIGMA, len(images)).numpy()

    def brighter(given: Tensor) -> Tensor:
        return brightness(given, factors[0], torch.zeros_like(factors[0])).clamp_(0, 1)

    def steeper(given: Tensor) -> Tensor:
        return contrast(given, factors[1], keep_range=False).clamp_(0, 1)

    brighter_first = _column(coins[0] < 0.5, images)
    jittered = torch.where(brighter_first, steeper(brighter(images)), brighter(steeper(images)))
    images = torch.where(_column(coins[1] < JITTER, images), jittered, images)
    blurred = blur(images, sigma, REACH, (-2, -1)).clamp_(0, 1)
    return torch.where(_column(coins[2] < BLUR, images), blurred, images)


def _uniform(limits: tuple[float, float], *shape: int) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * torch.rand(shape)


def _column(values: Tensor, like: Tensor) -> Tensor:
    """One value an image, (B,), beside images `like` (B, channels, H, W)."""
    return values.to(like.device, non_blocking=True).view(-1, 1, 1, 1)
