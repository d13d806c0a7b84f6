"""How far a long transfer is: lines in a log, a bar on a terminal."""

import io
import logging

import pytest

from piecemeal.datasets.fetching import progress


@pytest.fixture
def lines(caplog):
    """`lines(calls)`: what is logged for (second, bytes there, total) one after the other."""

    def follow(calls):
        now = [0.0]
        report = progress.log_lines("file", clock=lambda: now[0])
        with caplog.at_level(logging.INFO, logger=progress.__name__):
            for now[0], there, total in calls:
                report(there, total)
        return [record.getMessage() for record in caplog.records]

    return follow


GB = 10**9


def test_a_line_comes_when_time_passed_and_much_came(lines):
    calls = [(29, 90 * GB, 100 * GB), (31, 4 * GB, 100 * GB), (40, 6 * GB, 100 * GB)]
    assert lines(calls) == ["file: 6.00 GB, 6 % of 100.00 GB"]


def test_a_line_comes_after_long_even_if_little_came(lines):
    assert lines([(599, GB, 100 * GB), (600, GB, 100 * GB)]) == ["file: 1.00 GB, 1 % of 100.00 GB"]


def test_without_a_total_a_line_comes_when_time_passed(lines):
    assert lines([(20, GB, None), (30, GB, None), (45, 2 * GB, None)]) == ["file: 1.00 GB, so far"]


def test_what_starts_over_is_told(lines):
    calls = [(30, 50 * GB, 100 * GB), (60, GB, 100 * GB)]
    assert lines(calls)[1] == "file: 1.00 GB, 1 % of 100.00 GB"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_that_follows_a_resume_and_a_start_over(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress.reporting("file") as report:
        report(60, 200)  # resumed
        report(150, 200)
        report(0, 200)  # started over
        report(20, 200)
    last = terminal.getvalue().split("\r")[-1]
    assert last.startswith("file:  10%")
    assert "20.0/200" in last


def test_no_terminal_gets_no_bar(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with progress.reporting("file") as report:
        report(60, 200)
    assert stream.getvalue() == ""
