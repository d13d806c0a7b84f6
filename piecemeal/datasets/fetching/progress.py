"""Tell how far a long transfer is: a bar on a terminal, now and then a line in a log elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

log = logging.getLogger(__name__)

QUIET = 30.0  # seconds between two lines, at least
LONG = 600.0  # seconds after which a line comes even if little did
STEP = 0.05  # of the whole, what is worth a line

Report = Callable[[int, int | None], None]


@contextmanager
def reporting(name: str) -> Iterator[Report]:
    """A function to call with the bytes there are and those expected (None if unknown)."""
    if not sys.stderr.isatty():
        yield log_lines(name)
        return
    with tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1000) as bar:

        def show(there: int, total: int | None) -> None:
            if bar.total != total or there < bar.n:  # the first call, or it started over
                bar.reset(total)
                bar.initial = bar.n = bar.last_print_n = there
            bar.update(there - bar.n)

        yield show


def log_lines(name: str, clock: Callable[[], float] = time.monotonic) -> Report:
    """Lines in the log: at most every QUIET seconds; for each STEP, or after LONG seconds."""
    last_time, last_there = clock(), 0

    def show(there: int, total: int | None) -> None:
        nonlocal last_time, last_there
        since = clock() - last_time
        little = total is not None and 0 <= there - last_there < STEP * total
        if since < QUIET or (little and since < LONG):
            return
        part = f"{100 * there / total:.0f} % of {total / 1e9:.2f} GB" if total else "so far"
        log.info("%s: %.2f GB, %s", name, there / 1e9, part)
        last_time, last_there = clock(), there

    return show
