"""The U-Net of Moseley et al. (2023): segmentation alone, the floor of their comparison."""

from piecemeal.methods._sigmoid_dice import SigmoidDice


class UNet(SigmoidDice):
    """Learns from the soft Dice of each slice."""
