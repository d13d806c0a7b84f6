"""How long to wait before a server is asked again."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST = 60.0  # seconds, of the waits that grow by themselves
LONGEST_ASKED = 600.0  # seconds, of those that a server asks for


def seconds_before(failure: int, retry_after: str | None = None) -> float:
    """Seconds to wait after the `failure`-th failure in a row, counted from 1.

    retry_after: the header of that name, seconds or an HTTP date (RFC 9110, 10.2.3), which is kept
    to up to LONGEST_ASKED. Without one, or with one that says nothing, 1, 2, 4, ... s up to
    LONGEST, each times a random 0.5 to 1: those who lost their connections together shall not come
    back together.
    """
    asked = _seconds(retry_after)
    if asked is not None:
        return min(max(asked, 0.0), LONGEST_ASKED)
    return min(2.0 ** min(failure - 1, 30), LONGEST) * random.uniform(0.5, 1.0)


def _seconds(retry_after: str | None) -> float | None:
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000": in UTC, of which place is not said
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()
