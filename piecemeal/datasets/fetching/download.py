"""Get one file over HTTP, whatever happens on the way: cut, slow, busy, changed, wrong.

What came so far survives the process (partial.py) and is asked for again from where it ended
(Range and If-Range, RFC 9110, 13 and 14). Whether it is the right file is for checksums.py to say.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from piecemeal.datasets.fetching.checksums import AGAIN, Expected, WrongFileError, verify
from piecemeal.datasets.fetching.partial import Partial, check_free_space, needed_bytes, no_space
from piecemeal.datasets.fetching.progress import Report, reporting
from piecemeal.datasets.fetching.transfer import Refused, Transfer
from piecemeal.errors import InputError
from piecemeal.provenance import is_full_disk

log = logging.getLogger(__name__)


def download(
    urls: Sequence[str],
    target: Path,
    *,
    bytes: int | None = None,
    headers: Mapping[str, str] | None = None,
    progress: Report | None = None,
    by_hand: str = "",
    homepage: str = "",
    attempts: int = 8,
    timeout: tuple[float, float] = (10, 60),
    wait: Callable[[float], object] = time.sleep,
    session: requests.Session | None = None,
) -> str:
    """Get `target` from the first of `urls` that gives it; returns that one.

    bytes: its published size; a server that offers another size is passed over. headers: sent to
    every mirror. progress: called with the bytes there are and those expected, or None; by default
    a bar on a terminal, lines in the log elsewhere. by_hand, homepage: where a person gets the
    file, for the message if no mirror gave it. attempts: failures in a row without headway until
    the next mirror's turn. timeout: seconds to connect, seconds without a byte. wait: waits so many
    seconds.

    What came so far lies in `<target>.part` and is continued by the next call, also after kill -9.
    The file appears under its own name when it is whole. Callers keep a second process away.

    Raises InputError if no mirror gave the file, or if the disk is or would be full.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if bytes is not None:
        check_free_space(target.parent, needed_bytes(target, bytes), target.name)
    reasons = {}
    with contextlib.ExitStack() as stack:
        session = session or stack.enter_context(requests.Session())
        report = progress or stack.enter_context(reporting(target.name))
        transfer = Transfer(target, bytes, headers or {}, report, session, timeout)
        for url in urls:
            try:
                transfer.fetch(url, attempts, wait)
                transfer.partial.finish()
                return url
            except Refused as reason:
                log.warning("%s: %s", url, reason)
                reasons[url] = str(reason)
            except OSError as error:
                if is_full_disk(error):
                    raise no_space(target.parent, transfer.missing or 0, target.name) from None
                raise
    raise InputError(_nobody_gave(transfer.partial, reasons, _where(target, by_hand, homepage)))


def obtain(
    target: Path,
    urls: Sequence[str],
    expected: Expected,
    lock: Path,
    *,
    by_hand: str = "",
    homepage: str = "",
    **options: Any,
) -> str:
    """Have `target` and have it checked (`verify`); returns its SHA-256.

    A file that is there is checked and nothing is fetched. Otherwise it comes from the first of
    `urls` that gives the right file; a wrong one is kept as `<target>.wrong`. Without `urls` a
    person has to place it (`require_by_hand`). options: those of `download`.

    Raises InputError if there is no right file in the end.
    """
    target = Path(target)
    if not urls:
        require_by_hand(target, by_hand, homepage)
    if target.exists():
        return verify(target, expected, lock)
    left, wrong, remedy = list(urls), [], ""
    while left:
        try:
            where = {"by_hand": by_hand, "homepage": homepage}
            url = download(left, target, bytes=expected.bytes, **where, **options)
        except InputError as error:
            raise InputError("\n".join([str(error), *wrong])) from None
        try:
            return verify(target, expected, lock)
        except WrongFileError as error:
            log.warning("%s: %s", url, error.reason)
            wrong.append(f"  {url}: {error.reason}")
            remedy = error.remedy
            target.replace(target.with_name(f"{target.name}.wrong"))
        left = left[left.index(url) + 1 :]
    last = f"The last one is kept as {target.name}.wrong to look at. Run the same again to fetch it"
    last += " afresh" if remedy == AGAIN else f" afresh; if that ends the same: {remedy}"
    first = f"{target}: what was fetched is not the file expected"
    raise InputError("\n".join([first, *wrong, last, *_where(target, by_hand, homepage)]))


def require_by_hand(target: Path, where: str, homepage: str) -> None:
    """Raise InputError, which says what to put where, if nobody has placed `target` yet."""
    if not target.is_file():
        more = f" (see {homepage})" if homepage else ""
        raise InputError(
            f"{target}: there is no such file, and only a person can get it. Get {target.name} "
            f"from {where or 'its owner'}{more}, put it into {target.parent} under that name, "
            "and run the same again"
        )


def _where(target: Path, by_hand: str, homepage: str) -> list[str]:
    """The lines that say where a person gets the file, as far as it is known."""
    place = f"Put it into {target.parent} as {target.name} and run the same again."
    lines = [f"From its owner: {by_hand} {place}"] if by_hand else []
    return [*lines, f"About the data set: {homepage}"] if homepage else lines


def _nobody_gave(partial: Partial, reasons: Mapping[str, str], where: list[str]) -> str:
    lines = [f"{partial.target}: could not be fetched"]
    lines += [f"  {url}: {reason}" for url, reason in reasons.items()]
    lines.append(
        f"{partial.size} bytes that came are kept in {partial.path.name}; run the same again to go "
        "on from there. By hand:"
    )
    # Without --fail, the page that says no would become the file.
    command = "  curl --fail -L -C - -o {} {}"
    target = shlex.quote(str(partial.target))
    lines += [command.format(target, shlex.quote(url)) for url in reasons]
    return "\n".join([*lines, *where])
