"""Fetching from a server of this machine that cuts, refuses, lies and changes its mind."""

import hashlib
import io
import json
import logging
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import piecemeal
from piecemeal.datasets.fetching import partial
from piecemeal.datasets.fetching.checksums import Expected
from piecemeal.datasets.fetching.download import (
    check_free_space,
    download,
    needed_bytes,
    obtain,
    require_by_hand,
)
from piecemeal.errors import InputError

CONTENT = random.Random(1).randbytes(40_000)
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@dataclass
class Fault:
    """What is wrong with one answer; by default nothing."""

    status: int | None = None
    headers: dict = field(default_factory=dict)  # more headers; a value None drops one
    cut: int | None = None  # the connection ends after so many bytes of the body ...
    reset: bool = False  # ... and not in an orderly way
    hold: bool = False  # nothing more comes, but the connection stays
    whole: bool = False  # Range is ignored
    careless: bool = False  # If-Range is ignored
    shift: int = 0  # the range begins elsewhere than asked for
    body: bytes | None = None
    change: bytes | None = None  # the file is replaced by another before the answer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append(SimpleNamespace(path=self.path, headers=dict(self.headers)))
        faults = server.faults.get(self.path, server.faults[""])
        fault = faults.pop(0) if faults else Fault()
        if fault.change is not None:
            server.content = fault.change
        status, body, headers = self.plan(fault, server.content)
        self.send_response(fault.status or status)
        headers = headers | {"Content-Length": str(len(body))} | fault.headers
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        if headers["Content-Length"] is None:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[: fault.cut])
        if fault.hold:
            server.release.wait(300)
        if fault.cut is not None:
            self.close_connection = True
            if fault.reset:
                now = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)

    def plan(self, fault, content):
        if fault.body is not None or fault.status is not None:
            return 200, fault.body or b"", {}
        headers = {"ETag": tag(content), "Last-Modified": DATE}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        same = fault.careless or condition in (None, tag(content), DATE)
        if not asked or fault.whole or not same:
            return 200, content, headers
        start = int(asked[1]) + fault.shift
        if start >= len(content):
            return 416, b"", {"Content-Range": f"bytes */{len(content)}"}
        said = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return 206, content[start:], headers | said


def tag(content):
    return f'"{hashlib.md5(content).hexdigest()}"'


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, address):
        """Nothing: clients that go away are what is tested."""

    def reset(self, content=CONTENT):
        self.content = content
        self.faults = {"": []}  # path -> what goes wrong, one answer after the other
        self.requests = []
        self.release = threading.Event()

    def url(self, name="file.bin"):
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def asked(self, header="Range"):
        return [request.headers.get(header) for request in self.requests]


@pytest.fixture(scope="module")
def running():
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(running):
    running.reset()
    yield running
    running.release.set()


@pytest.fixture
def fetch(server, tmp_path):
    """`fetch(fault, ...)`: the file that came, the waits asked for, and the server asked."""

    def run(*faults, names=("file.bin",), **options):
        server.faults[""] = list(faults)
        run.waits = []
        options = {"wait": run.waits.append, "timeout": (60, 60)} | options
        run.gave = download([server.url(name) for name in names], run.target, **options)
        return run.target.read_bytes()

    run.target = tmp_path / "folder" / "file.bin"
    run.part = tmp_path / "folder" / "file.bin.part"
    return run


def left_over(fetch):
    return sorted(path.name for path in fetch.target.parent.iterdir())


def test_a_file_comes_whole_and_nothing_else_stays(fetch, server):
    assert fetch() == CONTENT
    assert left_over(fetch) == ["file.bin"]
    assert fetch.gave == server.url()
    (request,) = server.requests
    assert request.headers["User-Agent"].startswith(f"piecemeal/{piecemeal.__version__} ")
    assert request.headers["Accept-Encoding"] == "identity"


def test_headers_are_sent_along(fetch, server):
    fetch(Fault(cut=9), headers={"Authorization": "Bearer secret"})
    assert server.asked("Authorization") == ["Bearer secret"] * 2


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_cut_connection_is_continued_from_where_it_was(fetch, server, reset):
    assert fetch(Fault(cut=15_000, reset=reset)) == CONTENT
    first, second = server.asked()
    assert first is None
    came = int(re.fullmatch(r"bytes=(\d+)-", second)[1]) if second else 0
    assert came == 15_000 or (reset and came < 15_000)  # a reset may drop what was on its way
    assert server.asked("If-Range")[1] == (tag(CONTENT) if came else None)
    assert len(fetch.waits) == 1


@pytest.mark.parametrize("etag", ['W/"1"', None], ids=["weak", "none"])
def test_without_a_strong_etag_the_date_tells_whether_the_file_is_the_same(fetch, server, etag):
    given = {"ETag": etag}
    assert fetch(Fault(cut=15_000, headers=given), Fault(headers=given)) == CONTENT
    assert server.asked("If-Range") == [None, DATE]
    assert server.asked() == [None, "bytes=15000-"]


def test_without_etag_and_date_the_size_tells(fetch, server):
    bare = {"ETag": None, "Last-Modified": None}
    assert fetch(Fault(cut=15_000, headers=bare), Fault(headers=bare)) == CONTENT
    assert server.asked() == [None, "bytes=15000-"]
    assert server.asked("If-Range") == [None, None]


def test_a_server_that_ignores_range_starts_over(fetch, server):
    assert fetch(Fault(cut=15_000), Fault(whole=True)) == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize("careless", [False, True])
@pytest.mark.parametrize("size", [40_000, 30_000, 50_000])
def test_a_file_that_changed_meanwhile_is_fetched_anew(fetch, server, careless, size):
    new = random.Random(2).randbytes(size)
    change = Fault(change=new, careless=careless)
    assert fetch(Fault(cut=15_000), change) == new
    assert server.asked() == [None, "bytes=15000-", None][: 2 + careless]


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_range_that_was_not_asked_for_is_not_taken(fetch, server, shift):
    assert fetch(Fault(cut=15_000), Fault(shift=shift)) == CONTENT
    assert server.asked() == [None, "bytes=15000-", None]


def test_what_starts_over_is_continued_again(fetch, server):
    assert fetch(Fault(cut=15_000), Fault(shift=1), Fault(cut=9_000)) == CONTENT
    assert server.asked() == [None, "bytes=15000-", None, "bytes=9000-"]


def test_that_one_mirror_cannot_continue_says_nothing_of_the_next(fetch, server):
    faults = [Fault(cut=15_000), Fault(shift=1), Fault(status=404)]
    assert fetch(*faults, names=["one", "two"]) == CONTENT
    assert server.asked() == [None, "bytes=15000-", None, "bytes=15000-"]


def test_what_is_there_stays_until_its_replacement_comes(fetch, server):
    with pytest.raises(InputError):
        fetch(Fault(cut=15_000), Fault(shift=1), *[Fault(status=503)] * 3, attempts=3)
    assert fetch.part.read_bytes() == CONTENT[:15_000]


def test_a_range_nobody_asked_for_is_refused(fetch):
    headers = {"Content-Range": "bytes 0-3/4"}
    with pytest.raises(InputError, match="answered 206"):
        fetch(Fault(status=206, body=b"abcd", headers=headers))


def test_a_body_without_a_length_ends_with_the_connection(fetch):
    bare = {"Content-Length": None}
    assert fetch(Fault(headers=bare)) == CONTENT
    assert fetch(Fault(headers=bare, cut=9), bytes=len(CONTENT)) == CONTENT


def test_more_bytes_than_there_should_be_are_not_taken(fetch, server):
    longer = Fault(body=CONTENT + b"x", headers={"Content-Length": None}, hold=True)
    assert fetch(longer, bytes=len(CONTENT)) == CONTENT
    assert server.asked() == [None, None]


def test_a_file_of_no_bytes_is_a_file(fetch, server):
    server.content = b""
    assert fetch() == b""


def note(fetch, server, part, total, url=None):
    """Leave a part as an ended process does."""
    known = partial.Partial(fetch.target)
    fetch.target.parent.mkdir()
    known.begin(partial.Version(url or server.url(), tag(CONTENT), DATE, total))
    fetch.part.write_bytes(part)


def test_a_part_that_is_whole_needs_no_request(fetch, server):
    note(fetch, server, CONTENT, len(CONTENT))
    assert fetch() == CONTENT
    assert server.requests == []
    assert left_over(fetch) == ["file.bin"]


def test_a_part_that_may_be_whole_is_so_if_the_server_has_no_more(fetch, server):
    note(fetch, server, CONTENT, None)
    assert fetch() == CONTENT
    assert server.asked() == ["bytes=40000-"]


def test_a_part_longer_than_the_file_is_fetched_anew(fetch, server):
    note(fetch, server, CONTENT + b"x", None)
    assert fetch() == CONTENT
    assert server.asked() == ["bytes=40001-", None]


def test_a_part_whole_but_of_another_size_than_published_is_fetched_anew(fetch, server):
    note(fetch, server, CONTENT[:-1], len(CONTENT) - 1)
    assert fetch(bytes=len(CONTENT)) == CONTENT
    assert server.asked()[-1] is None


def test_a_part_of_unknown_origin_is_fetched_anew(fetch, server):
    fetch.target.parent.mkdir()
    fetch.part.write_bytes(b"something")
    assert fetch() == CONTENT
    assert server.asked() == [None]


def test_a_busy_server_is_asked_again_when_it_says(fetch):
    faults = [Fault(status=429, headers={"Retry-After": "17"})]
    faults += [Fault(status=503, headers={"Retry-After": DATE})]
    assert fetch(*faults) == CONTENT
    assert fetch.waits == [17, 0]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_that_says_nothing_is_asked_again_less_and_less_often(fetch, status):
    assert fetch(*[Fault(status=status)] * 4) == CONTENT
    bounds = [(0.5, 1), (1, 2), (2, 4), (4, 8)]
    assert all(low <= wait <= high for wait, (low, high) in zip(fetch.waits, bounds, strict=True))


def test_headway_gives_new_attempts(fetch, server):
    cuts = [Fault(cut=1000)] * 20
    assert fetch(*cuts, attempts=2) == CONTENT
    assert server.asked()[-1] == "bytes=20000-"
    assert max(fetch.waits) <= 1


@pytest.mark.parametrize(
    "fault", [Fault(cut=15_000, whole=True), Fault(cut=0), Fault(status=503)], ids=repr
)
def test_without_headway_it_ends(fetch, server, fault):
    with pytest.raises(InputError, match="3 times without headway"):
        fetch(*[fault] * 9, attempts=3)
    assert len(server.requests) <= 4
    assert len(fetch.waits) == len(server.requests) - 1


def test_who_gives_up_says_why_what_is_kept_and_how_to_do_it_by_hand(fetch, server):
    with pytest.raises(InputError) as caught:
        fetch(Fault(cut=15_000), *[Fault(status=503)] * 9, names=["a", "b"], attempts=2)
    text = str(caught.value)
    assert text.startswith(f"{fetch.target}: could not be fetched\n")
    for name in ("a", "b"):
        reason = "answered 503 Service Unavailable (2 times without headway)"
        assert f"  {server.url(name)}: {reason}\n" in text
        assert f"  curl --fail -L -C - -o {fetch.target} {server.url(name)}" in text
    assert "15000 bytes that came are kept in file.bin.part; run the same again to go on" in text
    assert not fetch.target.exists()
    assert fetch(names=["a"]) == CONTENT
    assert server.asked()[-1] == "bytes=15000-"


def test_nobody_there_is_no_other_case(fetch, server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens
        dead = f"http://127.0.0.1:{free.getsockname()[1]}/file.bin"
        waits = []
        with pytest.raises(InputError, match=r"ConnectionError.*\(3 times without headway\)"):
            download([dead], fetch.target, attempts=3, wait=waits.append)
    assert len(waits) == 2


@pytest.mark.parametrize("url", ["ftp://somewhere/file", "no address", "http://"])
def test_an_address_that_is_none_is_not_tried_again(fetch, url):
    waits = []
    with pytest.raises(InputError, match="could not be fetched"):
        download([url], fetch.target, wait=waits.append)
    assert waits == []


PAGE = {"Content-Type": "text/html; charset=utf-8"}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        *((Fault(status=status), f"answered {status}") for status in (401, 403, 404, 410)),
        (Fault(body=b"<html>log in</html>", headers=PAGE), "gave a web page"),
        (Fault(body=b"another file"), "offers 12 bytes, expected 40000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mirror_that_has_not_the_file_is_passed_over_at_once(
    fetch, server, caplog, fault, reason
):
    assert fetch(fault, names=["one", "two"], bytes=len(CONTENT)) == CONTENT
    assert [request.path for request in server.requests] == ["/one", "/two"]
    assert fetch.gave == server.url("two")
    assert fetch.waits == []
    assert reason in caplog.text


def test_another_mirror_continues_what_has_the_same_size(fetch, server):
    faults = [Fault(cut=15_000), Fault(status=404), Fault(headers={"ETag": '"of its own"'})]
    assert fetch(*faults, names=["one", "two"]) == CONTENT
    assert [(r.path, r.headers.get("Range")) for r in server.requests] == [
        ("/one", None),
        ("/one", "bytes=15000-"),
        ("/two", "bytes=15000-"),
    ]
    assert server.asked("If-Range")[2] is None


def test_another_mirror_does_not_continue_what_has_another_size(fetch, server):
    new = random.Random(2).randbytes(50_000)
    faults = [Fault(cut=15_000), Fault(status=404), Fault(change=new)]
    assert fetch(*faults, names=["one", "two"]) == new


def test_a_silent_connection_is_given_up_and_continued(fetch, server):
    assert fetch(Fault(cut=15_000, hold=True), timeout=(60, 1)) == CONTENT
    assert server.asked() == [None, "bytes=15000-"]


def test_progress_tells_what_is_there_and_what_there_will_be(fetch):
    told = []
    fetch(Fault(cut=15_000), progress=lambda *values: told.append(values))
    there = [value for value, _ in told]
    assert there == sorted(there)
    assert {total for _, total in told} == {len(CONTENT)}
    assert (there[0], there[-1]) == (0, len(CONTENT))
    assert there.count(15_000) == 2  # the end of one answer, the beginning of the other


def test_a_stop_by_the_user_keeps_what_came(fetch, server):
    def stop(there, total):
        if there >= 15_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(Fault(cut=15_000), progress=stop)
    came = fetch.part.stat().st_size
    assert came == 15_000
    assert fetch() == CONTENT
    assert server.asked() == [None, "bytes=15000-"]


def test_a_process_killed_half_way_is_continued_by_the_next(fetch, server):
    server.faults[""] = [Fault(cut=25_000, hold=True)]
    code = (
        "import sys; from pathlib import Path\n"
        "from piecemeal.datasets.fetching.download import download\n"
        "download([sys.argv[1]], Path(sys.argv[2]))"
    )
    root = Path(piecemeal.__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", code, server.url(), str(fetch.target)], cwd=root
    )
    try:
        deadline = time.monotonic() + 600
        while not (fetch.part.exists() and fetch.part.stat().st_size >= 10_000):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    came = fetch.part.stat().st_size
    assert 10_000 <= came <= 25_000
    assert fetch() == CONTENT
    assert server.asked() == [None, f"bytes={came}-"]
    assert left_over(fetch) == ["file.bin"]


FAULTS = st.one_of(
    st.builds(Fault, cut=st.integers(0, len(CONTENT))),
    st.builds(Fault, cut=st.integers(0, len(CONTENT)), whole=st.just(True)),
    st.builds(Fault, cut=st.integers(0, len(CONTENT)), headers=st.just({"ETag": None})),
    st.builds(Fault, cut=st.integers(0, len(CONTENT)), reset=st.just(True)),
    st.builds(Fault, shift=st.sampled_from([-100, -1, 1, 100])),
    st.builds(Fault, status=st.sampled_from([429, 500, 503])),
    st.builds(
        Fault,
        change=st.builds(
            lambda seed, size: random.Random(seed).randbytes(size),
            st.integers(3, 9),
            st.integers(1, len(CONTENT)),
        ),
        cut=st.integers(0, len(CONTENT)),
        careless=st.booleans(),
    ),
)


@settings(max_examples=60)
@given(faults=st.lists(FAULTS, max_size=6))
def test_whatever_goes_wrong_on_the_way_the_file_is_that_of_the_server(
    running, tmp_path_factory, faults
):
    running.reset()
    running.faults[""] = list(faults)
    target = tmp_path_factory.mktemp("any") / "file.bin"
    # The dates are all the same here, so a change behind a lost ETag could not be seen.
    if any(fault.change for fault in faults):
        for fault in faults:
            fault.headers = {}
    download([running.url()], target, attempts=20, wait=lambda seconds: None)
    assert target.read_bytes() == running.content
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def disk(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))


@pytest.mark.parametrize("known", [True, False], ids=["published size", "size from the server"])
def test_a_disk_too_small_is_noticed_before_anything_comes(fetch, server, monkeypatch, known):
    disk(monkeypatch, 39_999)
    with pytest.raises(InputError) as caught:
        fetch(bytes=len(CONTENT) if known else None)
    text = str(caught.value)
    assert text.startswith(f"{fetch.target.parent}: file.bin needs 40000 bytes (0.0 GB) more")
    assert "found 39999 bytes" in text
    assert len(server.requests) == 1 - known
    assert left_over(fetch) == []


def test_what_came_already_needs_no_room(fetch, server, monkeypatch):
    note(fetch, server, CONTENT[:15_000], len(CONTENT))
    disk(monkeypatch, 25_000)
    assert needed_bytes(fetch.target, len(CONTENT)) == 25_000
    assert fetch(bytes=len(CONTENT)) == CONTENT


def test_free_space_is_checked_for_whoever_asks(tmp_path, monkeypatch):
    disk(monkeypatch, 5 * 10**9)
    check_free_space(tmp_path, 5 * 10**9, "TotalSegmentator")
    with pytest.raises(InputError, match=r"TotalSegmentator needs 7000000000 bytes \(7.0 GB\)"):
        check_free_space(tmp_path, 7 * 10**9, "TotalSegmentator")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_disk_that_fills_up_is_an_error_that_says_so(fetch):
    fetch.target.parent.mkdir()
    fetch.part.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"file\.bin needs 40000 bytes.*make room"):
        fetch()
    assert fetch.part.is_symlink()
    assert not fetch.target.exists()


RIGHT = Expected(bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
FLIPPED = CONTENT[:99] + bytes([CONTENT[99] ^ 1]) + CONTENT[100:]


@pytest.fixture
def have(server, tmp_path):
    """`have(expected, names, faults)`: `obtain` the file from the server's addresses."""

    def run(expected=RIGHT, names=("one",), faults=(), **options):
        server.faults[""] = list(faults)
        urls = [server.url(name) for name in names]
        options = {"wait": lambda seconds: None, "attempts": 2} | options
        return obtain(run.target, urls, expected, run.lock, **options)

    run.target = tmp_path / "file.bin"
    run.lock = tmp_path / "checksums.json"
    return run


def test_the_right_file_is_fetched_checked_and_then_left_alone(have, server):
    assert have() == RIGHT.sha256
    assert json.loads(have.lock.read_text())["file.bin"]["verified_by"] == "sha256"
    assert have() == RIGHT.sha256
    assert len(server.requests) == 1


def test_a_corrupt_file_is_put_aside_and_the_next_mirror_asked(have, server):
    assert have(names=["one", "two"], faults=[Fault(body=FLIPPED)]) == RIGHT.sha256
    assert [request.path for request in server.requests] == ["/one", "/two"]
    assert have.target.read_bytes() == CONTENT
    assert have.target.with_name("file.bin.wrong").read_bytes() == FLIPPED


def test_nothing_but_corrupt_files_is_an_error_that_says_so(have, server):
    faults = [Fault(body=FLIPPED), Fault(body=FLIPPED)]
    with pytest.raises(InputError) as caught:
        have(names=["one", "two"], faults=faults)
    text = str(caught.value)
    found = hashlib.sha256(FLIPPED).hexdigest()
    for name in ("one", "two"):
        assert f"{server.url(name)}: expected sha256 {RIGHT.sha256}, found {found}" in text
    assert "kept as file.bin.wrong" in text
    assert "fetch it afresh" in text
    assert sorted(path.name for path in have.target.parent.iterdir()) == ["file.bin.wrong"]
    assert have() == RIGHT.sha256


def test_a_corrupt_file_and_then_nothing_is_told_too(have, server):
    with pytest.raises(InputError) as caught:
        have(names=["one", "two"], faults=[Fault(body=FLIPPED), Fault(status=404)])
    assert f"{server.url('two')}: answered 404" in str(caught.value)
    assert f"{server.url('one')}: expected sha256" in str(caught.value)


def test_pieces_of_two_mirrors_that_differ_do_not_pass(have, server):
    faults = [Fault(body=FLIPPED, cut=15_000), Fault(status=404)]
    with pytest.raises(InputError, match=r"/two: expected sha256"):
        have(names=["one", "two"], faults=faults)
    assert server.asked() == [None, "bytes=15000-", "bytes=15000-"]


def test_a_file_without_a_sum_that_changes_at_its_source_is_noticed(have, server):
    have(Expected())
    os.utime(have.target, ns=(1, 1))  # the next one is of another time, however coarse the clock
    have(Expected())
    have.target.unlink()
    with pytest.raises(InputError) as caught:
        have(Expected(), faults=[Fault(change=FLIPPED)])
    assert f"delete the entry 'file.bin' in {have.lock} to accept the new one" in str(caught.value)


def test_a_damaged_archive_without_a_sum_is_noticed(have, server):
    have.target = have.target.with_name("file.zip")
    with pytest.raises(InputError, match="expected a sound zip archive"):
        have(Expected())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("scan.nii", CONTENT)
    server.content = buffer.getvalue()
    assert have(Expected()) == hashlib.sha256(server.content).hexdigest()


def test_a_wrong_file_that_somebody_placed_is_theirs_to_delete(have, server):
    have.target.write_bytes(FLIPPED)
    with pytest.raises(InputError, match="delete the file and fetch it again"):
        have()
    assert have.target.read_bytes() == FLIPPED
    assert server.requests == []


def test_a_file_to_place_by_hand_is_asked_for(have, tmp_path):
    by_hand = {"by_hand": "Synapse, file 5 of syn1", "homepage": "https://example.org/btcv"}
    with pytest.raises(InputError) as caught:
        have(names=[], **by_hand)
    assert str(caught.value) == (
        f"{have.target}: there is no such file, and only a person can get it. Get file.bin from "
        "Synapse, file 5 of syn1 (see https://example.org/btcv), put it into "
        f"{tmp_path} under that name, and run the same again"
    )
    have.target.write_bytes(CONTENT)
    assert have(names=[], **by_hand) == RIGHT.sha256
    have.target.write_bytes(FLIPPED)
    os.utime(have.target, ns=(1, 1))  # as above
    with pytest.raises(InputError, match="expected sha256"):
        have(names=[], **by_hand)


BY_HAND = {"by_hand": "Register at the owner's.", "homepage": "https://example.org/acdc"}
PAGE = Fault(headers={"Content-Type": "text/html"}, body=b"<html>Please log in</html>")


@pytest.mark.parametrize("fault", [Fault(status=401), Fault(status=403), PAGE], ids=repr)
def test_who_is_refused_is_told_where_a_person_gets_the_file(have, fault):
    with pytest.raises(InputError) as caught:
        have(faults=[fault], **BY_HAND)
    *_, owner, page = str(caught.value).splitlines()
    assert owner == (
        f"From its owner: Register at the owner's. Put it into {have.target.parent} as file.bin "
        "and run the same again."
    )
    assert page == "About the data set: https://example.org/acdc"


def test_where_a_person_gets_a_file_is_told_if_all_that_came_was_wrong(have):
    with pytest.raises(InputError, match=r"not the file expected[\s\S]*From its owner: Register"):
        have(faults=[Fault(body=FLIPPED)], **BY_HAND)


def test_nothing_is_said_of_an_owner_nobody_knows(have):
    with pytest.raises(InputError) as caught:
        have(faults=[Fault(status=403)])
    assert str(caught.value).splitlines()[-1].startswith("  curl --fail")


def test_a_file_to_place_by_hand_needs_no_homepage(tmp_path):
    with pytest.raises(InputError, match=r"Get word\.zip from its owner, put it into"):
        require_by_hand(tmp_path / "word.zip", "", "")
    (tmp_path / "word.zip").touch()
    require_by_hand(tmp_path / "word.zip", "", "")


def test_waits_and_refusals_are_in_the_log_without_the_token(fetch, caplog):
    with caplog.at_level(logging.DEBUG, logger="piecemeal"):
        fetch(Fault(status=503), headers={"Authorization": "Bearer secret"})
    assert "answered 503 Service Unavailable; asking again in" in caplog.text
    assert "secret" not in caplog.text
