"""How long to wait before a server is asked again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from piecemeal.datasets.fetching.backoff import LONGEST, LONGEST_ASKED, seconds_before


def test_waits_double_up_to_the_longest_and_differ_between_those_who_wait():
    for failure, full in [(1, 1), (2, 2), (3, 4), (6, 32), (7, LONGEST), (5000, LONGEST)]:
        waits = {seconds_before(failure) for _ in range(50)}
        assert len(waits) > 1
        assert all(full / 2 <= seconds <= full for seconds in waits)


@pytest.mark.parametrize(("header", "seconds"), [("0", 0), (" 7 ", 7), ("99999", LONGEST_ASKED)])
def test_seconds_that_the_server_asks_for_are_kept_to(header, seconds):
    assert seconds_before(5, header) == seconds


@pytest.mark.parametrize("zone", [UTC, None], ids=["GMT", "no zone"])
def test_a_date_that_the_server_asks_for_is_kept_to(zone):
    later = datetime.now(UTC).replace(tzinfo=zone) + timedelta(seconds=90)
    assert 80 < seconds_before(1, format_datetime(later, usegmt=zone is UTC)) <= 90


def test_a_date_that_is_past_asks_for_no_wait():
    assert seconds_before(4, "Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize("header", ["", "soon", "-3", "1.5", "²"])
def test_what_says_nothing_counts_as_not_said(header):
    assert 4 <= seconds_before(4, header) <= 8
