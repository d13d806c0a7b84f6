"""What README shows runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import torch

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def test_the_example_runs():
    (example,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    labels = np.arange(12).reshape(3, 4) % 4
    given = {"labels": labels, "logits": torch.zeros(1, 4, 3, 4)}
    exec(example, given)
    # A quarter of the voxels is background, the others one of three equally likely classes.
    expected = (np.log(4) + 3 * np.log(4 / 3)) / 4
    torch.testing.assert_close(given["loss"], torch.tensor(expected, dtype=torch.float32))
