"""What every script of a rule needs: its log, and errors that a user can read."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from piecemeal.errors import InputError
from piecemeal.provenance import source_hash


def offer_package(checkout: str) -> None:
    """Let the jobs of this process import the package from `checkout`.

    It need not be installed where they run, as in a conda environment or on a GPU machine.
    """
    paths = [str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def run_job(main: Callable[[Any], None], job: Any) -> None:
    """Run a script's `main`, logging to the rule's log file.

    A user's mistake ends in its message, in the log and on the terminal, without a traceback.
    """
    open(job.log[0], "w").close()
    logging.basicConfig(
        filename=job.log[0],
        filemode="a",  # processes that the job starts write to its end as well
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    logging.captureWarnings(True)
    try:
        _check_code(getattr(job.params, "settings", None))
        main(job)
    except InputError as error:
        logging.error("%s", error)
        print(f"{job.rule}: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        logging.exception("unexpected error")
        raise


def _check_code(settings: dict[str, Any] | None) -> None:
    """Refuse to work with code that was edited after the workflow had named the result by it."""
    if settings and source_hash(*settings["modules"]) != settings["source_hash"]:
        raise InputError(
            f"the code of {', '.join(settings['modules'])} changed after this workflow was "
            "planned; start snakemake again, and it plans anew"
        )
