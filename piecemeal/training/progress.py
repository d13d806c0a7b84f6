"""How far a run is: one live line on a terminal, plain lines now and then in a log."""

from __future__ import annotations

import logging
import sys
import time

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Reports steps, loss and the time left. `total` steps, of which `done` are already done."""

    def __init__(self, name: str, done: int, total: int):
        self.name, self.done, self.total = name, done, total
        self.start = self.shown = time.monotonic()
        self.first = done
        self.live = sys.stderr.isatty()

    def update(self, step: int, text: str) -> None:
        """Say that `step` steps are done; `text` is what is worth knowing about them."""
        now = time.monotonic()
        each = (now - self.start) / max(step - self.first, 1)
        line = (
            f"{self.name}: step {step}/{self.total}, {text}, {each:.2f} s a step, "
            f"{_duration(each * (self.total - step))} left"
        )
        if self.live:
            print(f"\r\x1b[2K{line}", end="\n" if step == self.total else "", file=sys.stderr)
        if step == self.total or now - self.shown >= SECONDS_BETWEEN_LINES:
            self.shown = now
            log.info("%s", line)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{seconds:02d} min"
