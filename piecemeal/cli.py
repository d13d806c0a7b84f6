"""The command line: `piecemeal plan` says what will run, `piecemeal status` where the runs are.

Both only read, at any time and as often as one likes. `piecemeal predict` has a finished run
segment a scan of the user's own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from piecemeal import estimates
from piecemeal.datasets.local_folders import check_local_folders
from piecemeal.errors import InputError
from piecemeal.in_words import Row, about, count, duration, size, table
from piecemeal.plan import Plan, Planner
from piecemeal.status import RunStatus, Totals, Unplanned, run_statuses, totals, unplanned

IN_WORDS = {"trained": "trained, not scored"}  # states whose name does not say it all
CLEAR_SCREEN = "\x1b[2J\x1b[H"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 2 for a mistake of the user, which ends in its message."""
    options = _parser().parse_args(arguments)
    try:
        for text in options.command(options):
            print(text, flush=True)
    except InputError as error:
        print(f"piecemeal: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # the way to end --watch
        return 130
    except BrokenPipeError:  # as with `| head`; nothing is left for Python to flush at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--scale", help="smoke, demo, pocket, ...; default: that of config.yaml")
    common.add_argument(
        "--papers", nargs="+", metavar="KEY", help="of these alone; all: also those on request"
    )
    common.add_argument("--json", action="store_true", help="for programs")
    parser = argparse.ArgumentParser(
        prog="piecemeal",
        description="What will run, where the runs are, and what they make of other scans.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    plan = commands.add_parser(
        "plan", parents=[common], help="every run the configuration asks for"
    )
    plan.set_defaults(command=_plan)
    status = commands.add_parser("status", parents=[common], help="where every planned run is")
    status.add_argument(
        "--watch", type=_seconds, metavar="SECONDS", help="say it again every so many seconds"
    )
    status.set_defaults(command=_status)
    predict = commands.add_parser("predict", help="a label map of a scan of your own")
    predict.add_argument("run", type=Path, help="folder of a finished run (weights.pt, run.json)")
    predict.add_argument("scan", type=Path, help=".nii, .nii.gz, .nrrd, or a DICOM series' folder")
    predict.add_argument("--output", type=Path, required=True, help=".nii.gz file to write")
    predict.add_argument("--task", help="where the run's cohort has tasks: which the scan shows")
    predict.add_argument("--modality", help="CT or MR, where the run's cohort has both")
    predict.add_argument("--threads", type=_count_from_1, default=os.cpu_count(), metavar="N")
    predict.add_argument("--force", action="store_true", help="replace the output if it exists")
    predict.set_defaults(command=_predict)
    return parser


def _count_from_1(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got '{text}'")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got '{text}'")
    return seconds


def _planner(options: argparse.Namespace) -> Planner:
    if not Path("config", "config.yaml").exists():
        raise InputError(
            f"{Path.cwd()}: has no config/config.yaml; start piecemeal in the project's main folder"
        )
    asked = options.papers
    return Planner(overrides={"papers": "all" if asked == ["all"] else asked} if asked else None)


def _read_plan(planner: Planner, options: argparse.Namespace) -> Plan:
    return planner.plan(planner.main.scale if options.scale is None else options.scale)


def _plan(options: argparse.Namespace) -> Iterator[str]:
    planner = _planner(options)
    plan = _read_plan(planner, options)
    check_local_folders(plan)
    fetched = estimates.downloads(plan)
    hours = estimates.gpu_hours(plan, planner.main.gpu_tflops)
    runs = [run | {"gpu_hours": hours[run["run"]]} for run in _planned(plan)]
    if options.json:
        of_plan = {"scale": plan.scale, "downloads": [d._asdict() for d in fetched], "runs": runs}
        yield json.dumps(of_plan, indent=1)
        return
    yield from _said_of_downloads(fetched)
    rows = [
        (
            run["run"],
            "" if run["steps"] is None else str(run["steps"]),
            "?" if run["gpu_hours"] is None else f"{run['gpu_hours']:.2f}",
            " ".join([run["network"] or "no network", *_options(run["network_options"])]),
            "; ".join(f"{arm['paper']}: {arm['arm']}" for arm in run["arms"]),
        )
        for run in runs
    ]
    right = ("steps", "GPU hours")
    yield table(("run", *right, "network", "arms"), rows, right=right)
    total = sum(run["gpu_hours"] or 0 for run in runs)
    unknown = sum(run["gpu_hours"] is None for run in runs)
    yield (
        f"{len(runs)} runs at scale {plan.scale}, about {total:.1f} GPU hours of training"
        + (f" and {unknown} runs of unknown length" if unknown else "")
        + f", if a GPU sustains {planner.main.gpu_tflops:g} TFLOP/s (gpu_tflops in config.yaml)"
    )


def _said_of_downloads(fetched: Sequence[estimates.Download]) -> Iterator[str]:
    """A table of what is still to be fetched, and its sum."""
    if not fetched:
        return
    names = ("download", "GB to fetch", "GB there", "files of unknown size", "files by hand")
    rows = [
        (
            *(d.dataset, f"{d.missing_bytes / 1e9:.2f}", f"{d.there_bytes / 1e9:.2f}"),
            *(str(d.unknown or ""), str(d.by_hand or "")),
        )
        for d in fetched
    ]
    yield table(names, rows, right=names[1:])
    total = sum(d.missing_bytes for d in fetched) / 1e9
    unknown = sum(d.unknown for d in fetched)
    more = f", and {unknown} files whose size is not published" if unknown else ""
    yield f"{len(fetched)} data sets to download, {total:.1f} GB{more}\n"


def _planned(plan: Plan) -> list[dict[str, Any]]:
    """Every run as `piecemeal plan --json` shows it; no steps for a method that is not trained."""
    arms: dict[str, list[dict[str, str]]] = {key: [] for key in plan.runs}
    for paper, entries in plan.papers.items():
        for entry in entries:
            arms[entry["run"]].append({"paper": paper, "arm": entry["arm"]})
    shown = ("cohort", "annotation", "method", "seed", "hash", "network", "network_options")
    return [
        {
            "run": key,
            **{name: unit.settings[name] for name in shown},
            "steps": unit.settings["training"]["steps"] if unit.settings["network"] else None,
            "arms": arms[key],
        }
        for key, unit in plan.runs.items()
    ]


def _options(options: dict[str, Any]) -> list[str]:
    return [f"{name}={json.dumps(value)}".replace('"', "") for name, value in options.items()]


def _with_all_papers(plan: Plan) -> Plan:
    """`plan` with the runs of all papers, as somebody may have asked for the others before."""
    try:
        everything = Planner(overrides={"papers": "all"}).plan(plan.scale)
    except InputError:  # there are no data of some of them
        return plan
    return replace(plan, runs=everything.runs | plan.runs)


def _status(options: argparse.Namespace) -> Iterator[str]:
    plan = _read_plan(_planner(options), options)
    results = Path("results", plan.scale)
    old = unplanned(_with_all_papers(plan), results)  # once: it looks at every file of these runs
    while True:
        runs = run_statuses(plan, results)
        if options.json:
            # Watched, one line each time, so that a program can read them one by one.
            content = _status_content(plan, runs, old)
            yield json.dumps(content, indent=None if options.watch else 1, allow_nan=False)
        else:
            text = _status_text(plan, runs, old)
            yield CLEAR_SCREEN + text if options.watch and sys.stdout.isatty() else text
        if options.watch is None:
            return
        time.sleep(options.watch)


def _status_content(plan: Plan, runs: list[RunStatus], old: Unplanned) -> dict[str, Any]:
    return {
        "scale": plan.scale,
        "runs": [asdict(run) for run in runs],
        "unplanned": old._asdict(),
        "totals": totals(runs)._asdict(),
    }


def _status_text(plan: Plan, runs: list[RunStatus], old: Unplanned) -> str:
    head = ("run", "state", "step", "done", "left", "time", "GPU hours", "samples/s")
    lines = [table(head, [_row(run) for run in runs], right=head[2:])]
    lines += [problem for run in runs for problem in run.problems]
    if old.runs:
        lines.append(
            f"{count(old.runs)} of older settings or code, {size(old.bytes)}, not planned at "
            f"scale {plan.scale} any more"
        )
    return "\n".join([*lines, _last_line(totals(runs))])


def _row(run: RunStatus) -> Row:
    under_way = run.step is not None and run.steps and run.left_seconds != 0
    left = "" if run.state in ("finished", "trained") else "unknown"
    if left and run.left_seconds is not None:
        left = about(run.left_is_estimate) + duration(run.left_seconds)
    return (
        run.run,
        IN_WORDS.get(run.state, run.state),
        f"{run.step}/{run.steps}" if run.step is not None and run.steps else "",
        f"{100 * run.step // run.steps} %" if under_way else "",
        left,
        "" if run.seconds is None else duration(run.seconds),
        "" if run.gpu_hours is None else f"{run.gpu_hours:.2f}",
        "" if run.samples_per_second is None else f"{run.samples_per_second:.1f}",
    )


def _last_line(total: Totals) -> str:
    left = f"{about(total.left_is_estimate)}{duration(total.left_seconds)} left over all"
    if total.left_unknown_runs:
        known = f"{left}, unknown for" if total.left_seconds else "time left unknown for"
        left = f"{known} {count(total.left_unknown_runs)}"
    return (
        f"{total.finished} of {count(total.runs)} finished, "
        f"{total.gpu_hours:.2f} GPU hours used, {left}"
    )


def _predict(options: argparse.Namespace) -> Iterator[str]:
    from piecemeal.prediction import predict_own_scan  # takes torch, which the others need not

    given = {key: getattr(options, key) for key in ("task", "modality", "threads", "force")}
    return predict_own_scan(options.run, options.scan, options.output, **given)
