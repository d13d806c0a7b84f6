"""A parametric head and neck down to the upper chest: one random subject, cut on any grid.

`sample_head` draws a subject; `Head.draw` cuts it and uses the random numbers it is given for
unevenness only. Lengths in mm; positions are (z, y, x): z towards the head, y towards the back, x
towards the patient's left, 0 midway between the openings of the ears of a level head.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from piecemeal.datasets.phantoms.drawing import figures, head_organs, neck, shoulders, skull, throat
from piecemeal.datasets.phantoms.drawing.figures import Bend, Part, Placing
from piecemeal.datasets.phantoms.drawing.solids import Solid, Union
from piecemeal.datasets.phantoms.drawing.spaces import Space

STRUCTURES = (
    "brainstem",
    "spinal cord",
    "right parotid",
    "left parotid",
    "esophagus",
    "larynx",
    "mandible",
    "right eye front",
    "left eye front",
    "right eye back",
    "left eye back",
    "right optic nerve",
    "left optic nerve",
    "right submandibular gland",
    "left submandibular gland",
    "right carotid",
    "left carotid",
    "oral cavity",
    "supraglottic larynx",
    "glottis",
    "thyroid",
    "right lacrimal gland",
    "left lacrimal gland",
    "optic chiasm",
    "pituitary",
    "right cochlea",
    "left cochlea",
    "buccal mucosa",
    "lips",
    "cricopharyngeus",
    "arytenoid",
)
PIVOT = np.array([-34.0, 15.0, 0.0])  # where the skull nods on the spine
# Landmarks in the frame of a level head: one point, or a line from the right to the left.
LANDMARKS = {
    "eye": [(12, -73, -32), (12, -73, 32)],
    "ear": [(0, 1, -68), (0, 1, 68)],
    "nasion": [(27, -96, 0)],
}


@dataclass(frozen=True)
class Head:
    """One subject; fillings (n, 3) are the places of metal in its teeth."""

    parts: tuple[Part, ...]
    place: Placing
    neck: neck.Neck
    fillings: np.ndarray

    def landmarks(self) -> dict[str, np.ndarray]:
        """Name -> points (n, 3), (z, y, x) in mm, see LANDMARKS."""
        return {name: self.place.put(points) for name, points in LANDMARKS.items()}

    def draw(
        self,
        rng: np.random.Generator,
        space: Space,
        width: float,
        palette: Mapping[str, tuple[float, float]],
        names: tuple[str, ...] = STRUCTURES,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Levels float32 and labels uint8 (z, y, x), the place of a structure in `names` from 1.

        width: mm over which neighbours mix in a voxel. palette: see figures.draw.
        """
        grain = 0.5 * figures.texture(rng, space, 4.0) + 0.85 * figures.texture(rng, space, 13.0)
        slip = rng.normal(0, 0.3) + 0.5 * figures.texture(rng, space, 12.0)
        return figures.draw(self.parts, space, palette, names, width, grain, slip)


def sample_head(rng: np.random.Generator, *, chin_up: float = 18.0) -> Head:
    """Draw a subject; chin_up: usual pitch of the head in degrees, lifted as for radiotherapy."""
    size = float(np.clip(rng.normal(1, 0.045), 0.88, 1.1))
    place = Placing(
        rng,
        Bend(rng, 1.6),
        size * rng.normal(1, 0.025, 3),
        figures.turn(chin_up + rng.normal(0, 7), rng.normal(0, 2), rng.normal(0, 1.5)),
        PIVOT,
        np.zeros(3),
    )
    own = neck.sample_neck(rng, size)
    inside = skull.cavity(place)
    face = head_organs.skin(place, inside, rng.normal(1, 0.12))
    teeth = skull.teeth(rng, place)
    # From the outside in; where two meet, the later one was there first.
    parts = [
        *_outside(rng, face, own),
        *neck.muscles(rng, own),
        *head_organs.ears(place),
        *head_organs.jaw_muscles(rng, place),
        *head_organs.glands(rng, place, face),
        *throat.vessels(rng, own),
        *throat.throat(rng, own, _airway(place)),
        *head_organs.mouth(rng, place),
        *skull.braincase(rng, place, inside),
        *skull.face(rng, place),
        *skull.cranial_air(rng, place),
        *head_organs.brain(rng, place, inside),
        *head_organs.brainstem(rng, place),
        *neck.spine(rng, own),
        *neck.cord(rng, own, place.put([head_organs.BRAINSTEM_END])[0]),
        *skull.mandible(rng, place, "mandible"),
        *teeth,
        *head_organs.eyes(rng, place),
    ]
    filled = rng.choice([0, 1, 2, 4], p=[0.45, 0.25, 0.2, 0.1]) if teeth else 0
    fillings = [teeth[i].solid.centre for i in rng.integers(0, len(teeth) or 1, filled)]
    return Head(tuple(parts), place, own, np.reshape(fillings, (-1, 3)))


def _airway(place: Placing) -> np.ndarray:
    """Airway from behind the nose to the throat: rows of z, y, x and half axes y, x."""
    path = [(-14, -26, 0), (-30, -19, 0), (-46, -16, 0), (-62, -12, 0), (-78, -10, 0)]
    return np.concatenate([place.put(path), [(9, 13), (7, 13), (4, 10), (6, 10), (7, 13)]], 1)


def _outside(rng: np.random.Generator, face: Solid, own: neck.Neck) -> list[Part]:
    """Skin, the fat under it, and what the shoulders consist of."""
    fat = float(rng.gamma(4, 3.2)) + 3
    drop = float(rng.normal(4, 9))
    bare = neck.skin(own, 0.96 + 0.006 * fat, drop)
    hulls = shoulders.hulls(rng, own, drop)
    under = (("skin", 0.0), ("fat", 2.2), ("mixed", 5 + 0.35 * fat))
    return [
        Part(Union((face, *bare), 18.0), under),
        Part(Union((*bare, *shoulders.skin(hulls, fat)), 24.0), under),
        *(Part(hull, (("girdle", 0.0),)) for hull in hulls),
        *shoulders.chest(rng, own, drop),
    ]
