"""Read what runs left behind, and refuse what is not of these runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from piecemeal.datasets.case_table import check_trained_on
from piecemeal.errors import InputError
from piecemeal.evaluation.empty_masks import BY_SLICE
from piecemeal.papers import AS_PREDICTED
from piecemeal.provenance import file_sha256, read_json
from piecemeal.publishing.footers import Circumstances
from piecemeal.publishing.tables import TRAINING

_SCAN = ["dataset", "case", "phase", "task"]
_TEXT = dict.fromkeys(["case", "phase", "task"], str)
_TEXTS = ["cohort", "annotation", "method", *_SCAN, "structure", "status"]
_NUMBERS = [
    *("seed", "dice", "assd_mm", "hd_mm", "hd95_mm"),
    *("true_voxels", "predicted_voxels", "overlap_voxels", "seconds"),
]
_OF_A_SCAN = ["diagonal_mm", "forward_passes"]
_OF_SOME_SCANS = [
    "modality",
    *("seconds_one_pass", "forward_passes_one_pass"),  # where a method takes several
]
_PLACE = [*_SCAN, "structure"]
_OF_SLICES = [BY_SLICE, "slices", "left_out"]


def read_scores(
    folder: Path,
    runs: Sequence[Mapping[str, str]],
    cohorts: Mapping[str, Mapping[str, Any]],
    *,
    last: bool = False,
) -> pd.DataFrame:
    """Scores of `runs` below `folder`, with the columns `arm` and `postprocessing` added.

    Also added, from scores.json, is what belongs to a scan as a whole: `diagonal_mm` of its volume,
    and the `forward_passes` that its prediction took; and where they are there, nan for other runs,
    `modality`, `seconds_one_pass`, `forward_passes_one_pass` and the measures slice by slice:
    `hd_slice_px`, `slices`, `left_out`, `slice_diagonal_px`. `least_voxels` is that of the cohort's
    scoring, if there is one.

    runs: {"arm", "run" (path below `folder`), "scoring" (hash the scores must carry)}; cohorts:
    {"treatment": what was done to the predictions, "least_voxels" if there is one}. Where
    something was done, the rows of the predictions as they came are there as well.

    last: in their place, scores of the weights of the last step, treated as the cohort asks and not
    slice by slice; there may be none, as only some scales ask for them, and never of what is not
    trained. Raises InputError for scores that another version of the scoring made or that are of
    other weights than the run's, for files that are damaged, and for a scan that scores.csv has and
    scores.json has not.
    """
    tables = []
    for entry in runs:
        place = folder / entry["run"]
        scoring = read_json(place / "scores.json")
        if (found := scoring.get("scoring")) != entry["scoring"]:
            raise InputError(
                f"{place / 'scores.csv'}: made by another version of the scoring ({found}, "
                f"expected {entry['scoring']}); delete the file and start again"
            )
        scans = _read_scans(place / "scores.json", scoring)
        _refuse_other_run(place, scoring)
        about = cohorts[entry["run"].split("/")[0]]
        treatment, least = about["treatment"], about.get("least_voxels")
        files = {"scores_last.csv" if last else "scores.csv": treatment}
        if not last and treatment != AS_PREDICTED:
            files["scores_unprocessed.csv"] = AS_PREDICTED
        for name, postprocessing in files.items():
            _refuse_damaged(place / name, scoring.get("sha256", {}).get(name), "scores")
            rows = _with_scans(_read_rows(place / name), scans, place / name)
            if not last:
                rows = _with_slices(rows, scoring, place, name == "scores.csv")
            rows = rows.assign(arm=entry["arm"], postprocessing=postprocessing)
            tables.append(rows if least is None else rows.assign(least_voxels=least))
    if not tables:
        raise InputError(f"{folder}: the paper has no runs at this scale; add its cohorts to it")
    # What has no row says nothing of the columns' types.
    return pd.concat([rows for rows in tables if len(rows)] or tables[:1], ignore_index=True)


def _read_rows(path: Path) -> pd.DataFrame:
    """A table of scores. Names and phases may look like numbers or like "NA"; they are text."""
    texts, empty = dict.fromkeys(_TEXTS, str), dict.fromkeys(_NUMBERS, "")
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=empty)


def _refuse_damaged(path: Path, sha256: str | None, kind: str) -> None:
    """InputError if a file has other bytes than were recorded when it was written, if they were.

    kind: "scores" or "history". <kind>.csv is what the workflow asks for, so that one that is gone
    is made again, and what belongs to it.
    """
    if sha256 is None or (path.exists() and file_sha256(path) == sha256):
        return
    raise InputError(
        f"{path}: is damaged, edited or missing: it is not the file whose sha256 was recorded when "
        f"it was written; delete {path.parent / kind}.csv and start again"
    )


def _refuse_other_run(place: Path, scoring: Mapping[str, Any]) -> None:
    """InputError if scores are of other weights, or of scans of other data, than the run is of now.

    Scores that do not say of which (of an older version, say) are believed.
    """
    weights = {s["weights_sha256"] for s in scoring["scans"] if "weights_sha256" in s}
    data = {scoring["data_manifest_sha256"]} if "data_manifest_sha256" in scoring else set()
    for what, key, found in (
        ("weights", "weights_sha256", weights),
        ("data", "data_manifest_sha256", data),
    ):
        if found and found != {trained := read_json(place / "run.json").get(key)}:
            raise InputError(
                f"{place / 'scores.csv'}: scores of other {what} (sha256 "
                f"{', '.join(sorted(found))}) than run.json beside it is about ({trained}); "
                "delete the file and start again"
            )


def _read_scans(path: Path, scoring: Mapping[str, Any]) -> pd.DataFrame:
    wanted = [*_SCAN, *_OF_A_SCAN]
    if "slices" in scoring:
        wanted.append("slice_diagonal_px")
    try:
        scans = pd.DataFrame(scoring["scans"])
        scans = scans[[*wanted, *scans.columns.intersection(_OF_SOME_SCANS)]]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: expected 'scans', a list of {', '.join(wanted)} of every scan; delete "
            "scores.csv beside it and start again"
        ) from None
    return scans.drop_duplicates(_SCAN).astype(_TEXT)


def _with_scans(rows: pd.DataFrame, scans: pd.DataFrame, path: Path) -> pd.DataFrame:
    rows = rows.merge(scans, how="left", on=_SCAN, validate="many_to_one", indicator=True)
    if len(absent := rows[rows["_merge"] == "left_only"]):
        raise InputError(
            f"{path}: {absent.iloc[0][_SCAN].to_dict()} is not among the scans of scores.json; "
            "delete scores.csv and start again"
        )
    return rows.drop(columns="_merge")


def _with_slices(
    rows: pd.DataFrame, scoring: Mapping[str, Any], place: Path, processed: bool
) -> pd.DataFrame:
    """Scores with the measures slice by slice of the table they are from, if there are any."""
    if "slices" not in scoring:
        return rows
    try:
        found = pd.DataFrame(scoring["slices"]).astype({**_TEXT, BY_SLICE: float})
        found = found.loc[found["processed"] == processed, [*_PLACE, *_OF_SLICES]]
        return rows.merge(found, how="left", on=_PLACE, validate="many_to_one")
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{place / 'scores.json'}: expected 'slices', one entry of "
            f"{', '.join([*_PLACE, 'processed', *_OF_SLICES])} a scan and structure; delete "
            "scores.csv beside it and start again"
        ) from None


def processed(scores: pd.DataFrame, cohorts: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The rows of `scores` that count: of predictions treated as their cohort asks."""
    wanted = scores["cohort"].map({name: c["treatment"] for name, c in cohorts.items()})
    return scores[scores["postprocessing"] == wanted]


def read_histories(folder: Path, runs: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """history.csv of `runs`, with the columns cohort, arm, seed and best_step added.

    best_step, from run.json, is the step whose weights were kept. Raises InputError for a file that
    is not the one that run.json speaks of.
    """
    tables = []
    for entry in runs:
        cohort, *_, name = entry["run"].split("/")
        seed = int(name.split("-")[0].removeprefix("seed"))
        place = folder / entry["run"]
        record = read_json(place / "run.json")
        _refuse_damaged(place / "history.csv", record.get("history_sha256"), "history")
        rows = pd.read_csv(place / "history.csv")
        best = record["best_step"]
        tables.append(rows.assign(cohort=cohort, arm=entry["arm"], seed=seed, best_step=best))
    # Of what is not trained no step was kept.
    return pd.concat(tables, ignore_index=True).astype({"best_step": float})


def read_records(folder: Path, runs: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """run.json of `runs`, each run once."""
    return [read_json(folder / run / "run.json") for run in dict.fromkeys(r["run"] for r in runs)]


def read_training(folder: Path, runs: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """What training cost `runs`, from run.json: the columns `tables.TRAINING`.

    Times are nan where nothing was trained. tasks: how many the run's networks are for, 1 in a
    cohort that is not cut into tasks.
    """
    rows = []
    for entry in runs:
        record = read_json(folder / entry["run"] / "run.json")
        minutes = record.get("minutes_per_epoch")
        in_all = None if minutes is None else record["training_seconds"] / 60
        tasks = len(record.get("config", {}).get("tasks") or ["all"])
        of_run = (minutes, in_all, record.get("parameters"), tasks)
        rows.append((record["cohort"], entry["arm"], record["seed"], *of_run))
    numbers = dict.fromkeys(TRAINING[3:], float)
    return pd.DataFrame(rows, columns=TRAINING).astype(numbers)


def refuse_other_data(records: Sequence[Mapping[str, Any]], prepared: Mapping[str, str]) -> None:
    """InputError if a run was trained on other data than its cohort's prepared folder now holds.

    prepared: cohort -> folder. A folder that is not there (results without their data) proves
    nothing and is passed over; one that is damaged is refused as such, as its runs may be good.
    """
    for record in records:
        folder = Path(prepared[record["cohort"]])
        if (folder / "cases.csv").exists():
            check_trained_on(folder, record)


def circumstances(
    given: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    postprocessing: Mapping[str, str],
) -> Circumstances:
    """What the footers say; where the data came from is read off the runs' own records.

    given: the parameters that all published files of a paper share.
    """
    scale, cohorts = given["scale"], given["cohorts"]
    sources = {
        record["cohort"]: ", ".join(
            f"{name}: {'phantom' if source['phantom'] else source['source']}"
            for name, source in record["data_sources"].items()
        )
        for record in records
    }
    return Circumstances(
        scale=f"{scale['title']}. {scale['notice']}",
        sources=sources,
        postprocessing=dict(postprocessing),
        shortened=list(scale["shortened"]),
        of_cohorts={name: about["shortened"] for name, about in cohorts.items()},
        training={name: about["training"] for name, about in cohorts.items()},
        least_voxels={
            name: about["least_voxels"]
            for name, about in cohorts.items()
            if about.get("least_voxels") is not None
        },
    )
