"""What came so far of a download, and whether it can be continued."""

import json

import pytest

from piecemeal.datasets.fetching.partial import Partial, Version, content_range, needed_bytes

URL, OTHER = "http://one/file", "http://two/file"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes 5-9/10", (5, 10)),
        ("bytes 0-0/*", (0, None)),
        ("Bytes */123", (None, 123)),
        ("bytes 5-9", (None, None)),
        ("items 5-9/10", (None, None)),
        ("bytes -9/10", (None, None)),
        ("", (None, None)),
        (None, (None, None)),
    ],
)
def test_content_range(header, expected):
    assert content_range(header) == expected


def test_a_weak_etag_is_no_validator():
    assert Version(URL, '"a"', "Monday").validator == '"a"'
    assert Version(URL, 'W/"a"', "Monday").validator == "Monday"
    assert Version(URL, 'W/"a"').validator is None


@pytest.mark.parametrize(
    ("new", "old", "continues"),
    [
        (Version(URL, '"a"', None, 9), Version(URL, '"a"', None, 9), True),
        (Version(URL, '"a"', None, 9), Version(URL, '"b"', None, 9), False),
        (Version(URL, '"a"', None, 9), Version(URL, '"a"', None, 8), False),
        (Version(URL, '"a"', "Monday", 9), Version(URL, '"a"', "Tuesday", 9), True),
        (Version(URL, 'W/"a"', "Monday", 9), Version(URL, 'W/"a"', "Tuesday", 9), False),
        (Version(URL, None, "Monday", None), Version(URL, '"a"', "Monday", 9), True),
        (Version(URL, None, "Monday", 9), Version(URL, None, "Tuesday", 9), False),
        (Version(URL, None, None, 9), Version(URL, None, None, 9), True),
        (Version(URL), Version(URL, '"a"', "Monday", 9), False),
        (Version(OTHER, '"b"', "Tuesday", 9), Version(URL, '"a"', "Monday", 9), True),
        (Version(OTHER, '"a"', "Monday", 8), Version(URL, '"a"', "Monday", 9), False),
        (Version(OTHER, '"a"', "Monday"), Version(URL, '"a"', "Monday"), False),
    ],
)
def test_what_may_follow_what(new, old, continues):
    assert new.continues(old) is continues


def started(folder, size, version):
    partial = Partial(folder / "file")
    partial.begin(version)
    partial.path.write_bytes(bytes(size))
    return Partial(folder / "file")  # as another process finds it


@pytest.mark.parametrize(
    ("version", "url", "offset"),
    [
        (Version(URL, '"a"', None, 9), URL, 5),
        (Version(URL, None, None, 9), URL, 5),
        (Version(URL, '"a"', None, None), URL, 5),
        (Version(URL, None, None, None), URL, 0),  # nothing tells that it is the same file
        (Version(URL, '"a"', None, 9), OTHER, 5),
        (Version(URL, '"a"', None, None), OTHER, 0),
        (Version(URL, '"a"', None, 4), URL, 0),  # more than there is
    ],
)
def test_where_to_go_on(tmp_path, version, url, offset):
    assert started(tmp_path, 5, version).resume_from(url) == offset


@pytest.mark.parametrize("note", [None, "", "{", "[]", '{"uri": 1}'])
def test_a_part_without_a_readable_note_is_not_continued(tmp_path, note):
    partial = started(tmp_path, 5, Version(URL, '"a"', None, 9))
    partial.note.unlink()
    if note is not None:
        partial.note.write_text(note)
    assert Partial(tmp_path / "file").resume_from(URL) == 0


def test_going_on_keeps_what_the_answer_does_not_repeat(tmp_path):
    partial = started(tmp_path, 5, Version(URL, '"a"', "Monday", 9))
    partial.go_on(Version(URL, total=9))
    assert partial.version == Version(URL, '"a"', "Monday", 9)
    partial.go_on(Version(OTHER, etag='"b"'))
    assert partial.version == Version(OTHER, '"b"', None, 9)
    assert json.loads(partial.note.read_text())["etag"] == '"b"'


def test_needed_bytes_count_what_is_there(tmp_path):
    target = tmp_path / "file"
    assert needed_bytes(target, 9) == 9
    started(tmp_path, 5, Version(URL, '"a"', None, 9))
    assert needed_bytes(target, 9) == 4
    assert needed_bytes(target, 3) == 0
    target.write_bytes(b"whole")
    assert needed_bytes(target, 9) == 0
