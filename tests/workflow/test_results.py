"""What a finished workflow leaves, read as somebody else's program would read it."""

import json

import nibabel as nib
import pandas as pd
import pytest

SCORES = (
    "cohort,annotation,method,seed,dataset,case,phase,structure,status,dice,assd_mm,hd_mm,"
    "hd95_mm,true_voxels,predicted_voxels,overlap_voxels,seconds,task"
)
TABLE = (
    "method,base,setting,column,metric,unit,mean,std,n_cases,n_seeds,ci_low,ci_high,"
    "published_mean,published_std,difference,status"
)
CLAIMS = (
    "paper,claim,statement,metric,better,worse,difference,ci_low,ci_high,p_value,p_holm,n_cases,"
    "n_seeds,verdict"
)
RECORD = {
    *("commit", "clean", "source_hash", "config", "data_manifest_sha256", "lock_sha256", "device"),
    *("seconds", "training_seconds", "minutes_per_epoch", "gpu_hours", "peak_memory_mib"),
    *("parameters", "resumed_at_steps"),
}


@pytest.fixture
def results(finished):
    return finished.folder / "results/smoke"


def to_predict(finished, record) -> int:
    """Test scans of a run's cohort; of one with several tasks, those of the run's own."""
    (path,) = finished.folder.glob(f"data/smoke/prepared/{record['cohort']}-*/cases.csv")
    cases = pd.read_csv(path, dtype=str, keep_default_na=False)
    tasks = list(record["config"]["tasks"]) or [""]
    return len(cases[(cases["split"] == "test") & cases["task"].isin(tasks)])


def test_every_run_has_its_files(finished, results):
    folders = sorted(p.parent for p in results.glob("runs/*/*/*/*/run.json"))
    planned = json.loads((results / "plan.json").read_text())["runs"]
    assert {folder.relative_to(results / "runs").as_posix() for folder in folders} == set(planned)
    for folder in folders:
        record = json.loads((folder / "run.json").read_text())
        assert record.keys() >= RECORD
        assert folder.name == f"seed{record['seed']}-{record['hash']}"
        assert (folder / "scores.csv").read_text().splitlines()[0] == SCORES
        assert (folder / "scores_last.csv").read_text().splitlines()[0] == SCORES
        history = pd.read_csv(folder / "history.csv")
        assert list(history.columns[:4]) == ["step", "loss", "lr", "seconds"]
        assert (folder / "last.pt").stat().st_size > 0
        assert (folder / "weights.pt").stat().st_size > 0
        predictions = list(folder.glob("predictions/*/*.nii.gz"))
        assert len(predictions) == to_predict(finished, record) > 0


def test_predictions_lie_in_the_space_of_their_scan(finished, results):
    folder = next(results.glob("runs/cardiac/complete/cross_entropy/*"))
    for path in folder.glob("predictions/acdc/*.nii.gz"):
        prediction = nib.load(path)
        case, phase = path.name.removesuffix(".nii.gz").rsplit("_", 1)
        scans = finished.folder.glob(f"data/smoke/raw/acdc-*/*/training/{case}/*_gt.nii.gz")
        shapes = {nib.load(scan).shape for scan in scans}
        assert prediction.shape in shapes, phase
        assert set(map(int, pd.unique(prediction.get_fdata().ravel()))) <= {0, 1, 2, 3}


def test_floor_and_ceiling(results):
    scores = pd.concat(pd.read_csv(p) for p in results.glob("runs/*/*/*/*/scores.csv"))
    scores = scores[scores["status"] != "both_empty"]  # a scan need not show all of its task
    floor = scores[scores["method"] == "background"]
    assert set(floor["status"]) == {"missed"}
    assert (floor["dice"] == 0).all()
    ceiling = scores[scores["method"] == "oracle"]
    assert ceiling["dice"].mean() > scores[scores["method"] == "cross_entropy"]["dice"].mean()


def test_table_and_its_printed_forms(results):
    path = results / "tables/kemnitz2018_table2.csv"
    assert path.read_text().splitlines()[0] == TABLE
    table = pd.read_csv(path)
    assert {"xent-lb", "naive", "slac", "xent-ub"} <= set(table["method"])
    cell = table[
        (table["method"] == "xent-ub")
        & (table["setting"] == "cardiac")
        & (table["column"] == "left ventricle ED")
        & (table["metric"] == "DSC")
    ]
    assert cell["published_mean"].item() == 0.962
    for suffix in (".md", ".tex"):
        text = path.with_suffix(suffix).read_text()
        assert "0.962" in text
        assert "phantom" in text.lower()


@pytest.mark.parametrize(
    ("table", "method", "column", "metric", "published"),
    [
        ("moseley2023_table1", "cmu-net", "liver", "DSC", 0.8984),
        ("moseley2023_table1", "u-net", "liver", "HD", 15.7667),
        ("li2023_table1", "unimos", "kidney", "DSC", 86.20),
        ("li2023_table1", "dodnet", "average", "DSC", 89.43),
        ("li2023_table1", "kiu-net", None, "testing time", 8.57),
        ("anand2024_table1", "label-sharing", "chest", "DSC", 0.966),
        ("anand2024_table1", "label-sharing-il", "head", "DSC", 0.893),
        ("chen2024_table1", "dodnet", "overall (per subject)", "DSC", 83.5),
        ("chen2024_table4", "clip-driven", "spleen", "DSC", 92.5),
    ],
)
def test_published_numbers_stand_beside_ours(results, table, method, column, metric, published):
    rows = pd.read_csv(results / f"tables/{table}.csv")
    here = rows["column"].isna() if column is None else rows["column"] == column
    row = rows[here & (rows["method"] == method) & (rows["metric"] == metric)]
    assert row["published_mean"].item() == published
    assert row["mean"].notna().item()


def test_passes_of_the_network_are_those_of_the_published_protocols(results):
    """A scan of 20 slices: 4 tiles a slice, 3 networks a slice, 8 mirrored windows and 3 tasks."""
    rows = pd.read_csv(results / "tables/li2023_cost.csv").set_index(["method", "metric"])["mean"]
    assert rows["pipo-fan", "forward passes"] == rows["unimos", "forward passes"] == 4 * 20
    assert rows["kiu-net", "forward passes"] == 3 * 20
    # Windows of 8 slices at steps of 4, as large as the plane.
    assert rows["dodnet", "forward passes"] == 4 * 8 * 3
    assert rows["dodnet", "forward passes, one for all organs"] == 4 * 8


def test_what_unimos_notes_is_in_its_history(results):
    for method in ("unimos", "unimos_as_released"):
        (path,) = results.glob(f"runs/liver_kidney_spleen/half_unlabelled/{method}/*/history.csv")
        history = pd.read_csv(path)
        assert history["threshold"].between(0.7 - 1e-6, 0.9).all()
        assert history["accepted"].between(0, 1).all()
    assert (history["accepted_pasted"] == 0).all()  # as released


class TestLabelSharing:
    def test_goes_on_from_the_run_before_it(self, results):
        records = [
            json.loads(path.read_text())
            for path in results.glob("runs/anatomy/*/label_sharing/*/run.json")
        ]
        by_run = {f"{r['annotation']}/{r['hash']}": r for r in records}
        later = [r for r in records if r["started_from"]]
        # Three orders of adding tasks, two stages each, and one that predicts with mirrored passes.
        assert len(later) == 7
        for record in later:
            annotation, _, name = record["started_from"].split("/")[1:]
            before = by_run[f"{annotation}/{name.split('-')[1]}"]
            kept = before["learned"]["channels"]
            assert kept.items() <= record["learned"]["channels"].items()
        grown = [r["annotation"] for r in later if r["learned"]["grown"]]
        assert grown == ["large_added_task"]

    def test_is_scored_where_it_has_learned_the_task(self, results):
        table = pd.read_csv(results / "tables/anand2024_forgetting.csv")
        head = table[(table["column"] == "head") & (table["metric"] == "DSC")]
        means = head.set_index("method")["mean"]
        assert means[["label-sharing-new", "label-sharing-il"]].notna().all()
        assert pd.isna(means["label-sharing"])

    def test_saves_channels_beside_multichannel_and_networks_beside_individual(self, results):
        table = pd.read_csv(results / "tables/anand2024_cost.csv")
        rows = table[(table["metric"] == "parameters") & (table["setting"] == "anatomy")]
        weights = rows.set_index("method")["mean"]
        assert weights["label-sharing"] < weights["multichannel"] < weights["individual"] / 3


def test_claims_are_tested(results):
    claims = pd.read_csv(results / "claims.csv")
    assert ",".join(claims.columns) == CLAIMS
    assert len(claims) > 0
    assert set(claims["verdict"]) <= {"supported", "contradicted", "inconclusive"}


def test_report_is_one_page_that_says_what_it_is(results):
    page = (results / "report.html").read_text()
    assert "numbers mean nothing" in page
    assert "kemnitz2018" in page
    assert page.count("data:image/") >= 2 or page.count("<svg") >= 2
    assert 'src="http' not in page


def test_figures_are_there_as_png_and_svg(results):
    names = {p.name for p in (results / "figures").iterdir()}
    assert {"kemnitz2018_figure2.png", "kemnitz2018_figure2.svg"} <= names
    assert {"kemnitz2018_training.png", "kemnitz2018_training.svg"} <= names
    assert {"li2023_views.png", "li2023_acceptance.png", "li2023_attention.png"} <= names
    assert "moseley2023_figure2.png" in names
    of_anand = ("figure2", "figure3", "figure4a", "figure4b", "figure5a", "figure5b", "forgetting")
    assert {f"anand2024_{name}.png" for name in of_anand} <= names


def test_dvc_has_nothing_to_do_after_the_workflow(finished_copy):
    finished_copy.run("git", "init", "--quiet")
    finished_copy.run("dvc", "commit", "--quiet", "--force")
    _, output = finished_copy.run("dvc", "repro")
    assert "up to date" in output
    assert "Running stage" not in output
