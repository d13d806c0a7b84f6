"""Piecemeal: a benchmark of medical image segmentation trained on incomplete labels."""

__version__ = "0.1.0"
