"""What every script of a rule needs: its log, and errors that a user can read."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from piecemeal.errors import InputError


def run_job(main: Callable[[Any], None], job: Any) -> None:
    """Run a script's `main`, logging to the rule's log file.

    A user's mistake ends in its message, in the log and on the terminal, without a traceback.
    """
    logging.basicConfig(
        filename=job.log[0],
        filemode="w",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    logging.captureWarnings(True)
    try:
        main(job)
    except InputError as error:
        logging.error("%s", error)
        print(f"{job.rule}: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        logging.exception("unexpected error")
        raise
