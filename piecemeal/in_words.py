"""Numbers and tables as the command line says them."""

from __future__ import annotations

from collections.abc import Sequence

Row = Sequence[str]


def table(head: Row, rows: Sequence[Row], right: Sequence[str]) -> str:
    """Columns side by side; those named in `right` end at the same place."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def about(estimate: bool) -> str:
    """A tilde before what is estimated."""
    return "~" if estimate else ""


def count(runs: int) -> str:
    """So many runs."""
    return "1 run" if runs == 1 else f"{runs} runs"


def duration(seconds: float) -> str:
    """`41 s`, `12:05 min`, `3 h 07 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d} min"


def size(number: float) -> str:
    """Bytes, in the unit that suits them."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
