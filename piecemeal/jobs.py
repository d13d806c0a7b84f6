"""What every script of a rule needs: its log, its settings, and errors that a user can read."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from piecemeal.errors import InputError
from piecemeal.provenance import is_full_disk, source_hash


def offer_package(checkout: str) -> None:
    """Let the jobs of this process import the package from `checkout`.

    It need not be installed where they run, as in a conda environment or on a GPU machine.
    """
    paths = [str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def run_job(main: Callable[[Any], None], job: Any) -> None:
    """Run a script's `main`, logging to the rule's log file.

    A user's mistake, a full disk and Ctrl-C end in a message, in the log and on the terminal,
    without a traceback.
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
    logging.raiseExceptions = False  # on a full disk the log is full too: no traceback of that
    try:
        main(job)
    except InputError as error:
        _end(job, str(error))
    except OSError as error:
        if not is_full_disk(error):
            logging.exception("unexpected error")
            raise
        place = error.filename or Path(str(next(iter(job.output), "."))).parent
        why = error.strerror or os.strerror(errno.ENOSPC)
        _end(job, f"{place}: {why}; make room there and start the same command again")
    except KeyboardInterrupt:
        _end(job, "interrupted; start the same command again to go on", 128 + signal.SIGINT)
    except Exception:
        logging.exception("unexpected error")
        raise


def _end(job: Any, message: str, status: int = 1) -> NoReturn:
    logging.error("%s", message)
    print(f"{job.rule}: {message}", file=sys.stderr)
    sys.exit(status)


def settings_of(job: Any) -> dict[str, Any]:
    """The settings of the unit of the plan that the rule's parameter `asked` names.

    Raises InputError if the plan cannot be read, or if it or the code is no longer that of which
    the result has its name.
    """
    asked = job.params.asked
    # Not by `thaw`, which would check every unit of it, and needs more than torch and numpy.
    try:
        units = json.loads(Path(asked["plan"]).read_text(encoding="utf-8"))[asked["stage"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{asked['plan']}: the plan cannot be read ({error!r}); start snakemake again from the "
            "main folder, without --no-hooks"
        ) from error
    unit = units.get(asked["key"], {"hash": None})
    if unit["hash"] != asked["hash"]:
        raise InputError(
            f"{asked['plan']}: gives {asked['stage']} '{asked['key']}' the hash {unit['hash']}, "
            f"expected {asked['hash']}; start snakemake again, and it plans anew"
        )
    settings = unit["settings"]
    if source_hash(*settings["modules"]) != settings["source_hash"]:
        raise InputError(
            f"the code of {', '.join(settings['modules'])} changed after this workflow was "
            "planned; start snakemake again, and it plans anew"
        )
    return settings


def data_folder(job: Any, name: str) -> Path:
    """The folder of the job's prepared or annotated data (`name`).

    Raises InputError where they are not there, as of a run that was thought to be done.
    """
    folder = Path(job.params.folders[name])
    if not (folder / "cases.csv").exists():
        raise InputError(
            f"{job.output[0]}: the {name} data that it is made from are not there ({folder}); "
            f"start snakemake once more, and if that does not help, with `--forcerun train -- "
            f"{job.output[0]}`"
        )
    return folder


def end_with_parent() -> None:
    """In a worker process: end when the parent is killed, and leave Ctrl-C to it.

    A worker whose parent is gone would wait for work for ever, and hold what the parent locked.
    Ctrl-C goes to every process; it ends the parent, which is through with its workers first.
    """

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
