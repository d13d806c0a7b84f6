"""One file on its way from one server after the other, answer by answer (RFC 9110).

200 is the whole file, 206 what was missing, 416 says that nothing is. Other answers and what goes
wrong on the way become Busy, to be asked again later, or Refused, to go to the next server.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError

import piecemeal
from piecemeal.datasets.fetching.backoff import seconds_before
from piecemeal.datasets.fetching.partial import (
    Partial,
    Version,
    check_free_space,
    content_range,
    needed_bytes,
)
from piecemeal.datasets.fetching.progress import Report

log = logging.getLogger(__name__)

BLOCK = 1 << 20  # bytes written at a time, at most
BUSY = {408, 425, 429}  # and every 5xx: may go better later
HOPELESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)
# Compressed on the way, a file could not be continued: its bytes would be others every time.
HEADERS = {
    "User-Agent": f"piecemeal/{piecemeal.__version__} (research data fetcher)",
    "Accept-Encoding": "identity",
}


class Busy(Exception):  # noqa: N818  (what to do, not what went wrong)
    """Another request to the same server may go better. after: what it said of when."""

    def __init__(self, reason: str, after: str | None = None):
        super().__init__(reason)
        self.after = after


class Refused(Exception):  # noqa: N818
    """This server will not give the file, however often it is asked."""


class Transfer:
    """One file on its way; the arguments are those of `download`, size its `bytes`."""

    def __init__(
        self,
        target: Path,
        size: int | None,
        headers: Mapping[str, str],
        report: Report,
        session: requests.Session,
        timeout: tuple[float, float],
    ):
        self.partial = Partial(target)
        self.size = size
        self.headers = HEADERS | dict(headers)
        self.report = report
        self.session = session
        self.timeout = timeout
        self.from_start = False  # whether the server has shown that it cannot continue

    def fetch(self, url: str, attempts: int, wait: Callable[[float], object]) -> None:
        """Ask until all is there. Raises Refused, InputError if the disk has no room for it."""
        self.from_start = False
        # The most there ever was: where every try starts over and breaks off, there is no headway.
        failures, most = 0, self.partial.size
        while True:
            try:
                return self._request(url)
            except Busy as reason:
                if self.partial.size > most:
                    failures, most = 0, self.partial.size
                failures += 1
                if failures >= attempts:
                    raise Refused(f"{reason} ({attempts} times without headway)") from None
                seconds = seconds_before(failures, reason.after)
                log.warning("%s: %s; asking again in %.0f s", url, reason, seconds)
                wait(seconds)

    def _request(self, url: str) -> None:
        """Ask once for what is missing and take what comes."""
        offset = 0 if self.from_start else self.partial.resume_from(url)
        if offset and self.partial.complete and self.size in (None, offset):
            return
        headers = self.headers | self._range(url, offset)
        try:
            response = self.session.get(
                url, headers=headers, stream=True, timeout=self.timeout, allow_redirects=True
            )
        except HOPELESS as error:
            raise Refused(_reason(error)) from None
        except (requests.RequestException, HTTPError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Refused(_reason(error)) from None
            raise Busy(_reason(error)) from None
        with response:
            if self._accept(url, response, offset):
                self._receive(response)
        self._check_end()

    def _range(self, url: str, offset: int) -> dict[str, str]:
        if not offset:
            return {}
        known = self.partial.version
        same = known.url == url and known.validator
        return {"Range": f"bytes={offset}-"} | ({"If-Range": known.validator} if same else {})

    def _accept(self, url: str, response: requests.Response, offset: int) -> bool:
        """Whether there is anything to receive; the partial file is then ready for it."""
        status = response.status_code
        if status in BUSY or status >= 500:
            raise Busy(_status(response), response.headers.get("Retry-After"))
        start, total = content_range(response.headers.get("Content-Range"))
        if status == 416 and offset:
            if offset == (total or self.partial.version.total) and self.size in (None, offset):
                return False
            self._start_over(f"has nothing from byte {offset} on")
        if status not in (200, 206) or (status == 206 and not offset):
            raise Refused(_status(response))
        kind = response.headers.get("Content-Type", "").lower()
        if kind.startswith("text/html") and self.partial.target.suffix not in (".html", ".htm"):
            raise Refused("gave a web page instead of the file; it may ask for a log-in")
        if status == 200:
            total = _length(response)
        if None not in (total, self.size) and total != self.size:
            raise Refused(f"offers {total} bytes, expected {self.size}: another file")
        version = Version.of(url, response.headers, total)
        if status == 200:
            self._make_sure_of_room(total)
            self.partial.begin(version)
            self.from_start = False
        elif start == offset and version.continues(self.partial.version):
            self._make_sure_of_room(total)
            self.partial.go_on(version)
        else:
            self._start_over(f"did not continue from byte {offset} of what is there")
        return True

    def _start_over(self, reason: str) -> None:
        # What is there goes only when its replacement begins to come.
        self.from_start = True
        raise Busy(reason, after="0")

    def _receive(self, response: requests.Response) -> None:
        there, total = self.partial.size, self.total
        self.report(there, total)
        with self.partial.path.open("ab") as file:
            for block in _blocks(response):
                file.write(block)
                there += len(block)
                self.report(there, total)
                if total is not None and there > total:
                    break  # it may never end

    def _make_sure_of_room(self, total: int | None) -> None:
        target = self.partial.target
        if total is not None:
            check_free_space(target.parent, needed_bytes(target, total), target.name)

    @property
    def total(self) -> int | None:
        """Bytes of the whole file, None where neither the server nor the caller said."""
        known = self.partial.version
        return self.size if known is None or known.total is None else known.total

    @property
    def missing(self) -> int | None:
        """Bytes that did not come yet; negative if too many came."""
        return None if self.total is None else self.total - self.partial.size

    def _check_end(self) -> None:
        missing = self.missing or 0
        if missing > 0:
            raise Busy(f"the connection ended {missing} bytes before the end")
        if missing < 0:
            self._start_over(f"gave {-missing} bytes too many")


def _blocks(response: requests.Response) -> Iterator[bytes]:
    """The body as it arrives and as it is sent, not decoded. Raises Busy if it breaks off."""
    try:
        # `read1` gives what has come; `read` would drop up to a block when the connection breaks.
        while block := response.raw.read1(BLOCK, decode_content=False):
            yield block
    except HTTPError as error:
        raise Busy(_reason(error)) from None


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _status(response: requests.Response) -> str:
    return f"answered {response.status_code} {response.reason}"
