"""What a prediction costs, counted where the network does the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

PARTS = ("features", "head")


class ForwardPasses:
    """Counts the single inputs, slices or windows, that `network` evaluates in a `with` block.

    `count` is 8 after a batch of 8, whoever asks for it: method, ensemble, flip or sliding window.
    It is 0 without a network. Where several networks are side by side, in `members` (see
    `methods._tasks.OnePerTask`), it has what each of them evaluated. A task-conditioned network
    (see `methods._base.TaskConditioned`) is counted in its two parts: `count` has the inputs its
    backbone evaluated, `head_count` those its heads did, which is what a protocol of one pass a
    task needs. `head_count` is 0 for others.
    """

    def __init__(self, network: nn.Module | None):
        self.network, self.count, self.head_count = network, 0, 0

    def __enter__(self) -> ForwardPasses:
        self._hooks, self._before = [], None
        if all(callable(getattr(self.network, part, None)) for part in PARTS):
            own = vars(self.network)
            self._before = {part: own[part] for part in PARTS if part in own}
            own["features"] = self._counted(self.network.features, self._add)
            own["head"] = self._counted(self.network.head, self._add_head)
        elif self.network is not None:
            members = getattr(self.network, "members", [self.network])
            self._hooks = [member.register_forward_hook(self._add) for member in members]
        return self

    def __exit__(self, *_) -> None:
        for hook in self._hooks:
            hook.remove()
        if self._before is not None:
            for part in PARTS:
                del vars(self.network)[part]
            vars(self.network).update(self._before)

    def _counted(self, part: Callable, add: Callable) -> Callable:
        def evaluate(*inputs: Any, **options: Any) -> Any:
            output = part(*inputs, **options)
            add(part, inputs, output)
            return output

        return evaluate

    def _add(self, network: Any, inputs: tuple[Any, ...], output: Any) -> None:
        self.count += len(inputs[0])

    def _add_head(self, head: Any, inputs: tuple[Any, ...], output: Any) -> None:
        # The features may be of any kind, a list of levels for one; the logits are a batch.
        self.head_count += len(output)
