"""The CLIP-driven universal model (Liu et al., ICCV 2023), as Chen et al. (2024) compare with it.

All structures that a sample can teach are learned at once, from one pass of a network whose head is
told each of them by a vector; see `piecemeal.networks.clip_transunet` for what that stands for.
"""

from piecemeal.methods.dodnet import DoDNet


class ClipDriven(DoDNet):
    """Binary cross-entropy and Dice of every structure that a sample can teach, as DoDNet's.

    The Dice is of the whole patch. In the code released from 2022 to 2024 it was the mean of those
    of the patch's slices, an erratum that is not kept.
    """
