"""A scale in a few numbers, worked out by hand."""

import pandas as pd

from piecemeal.publishing.summary import POINTS, mean_dice, metrics, training_curves


def test_mean_dice_counts_what_was_missed_and_not_what_is_in_neither_mask():
    rows = [("ok", 0.8), ("missed", 0.0), ("both_empty", None)]
    scores = pd.DataFrame(rows, columns=["status", "dice"])
    scores = scores.assign(paper="p", cohort="c", arm="a")
    assert mean_dice(scores).to_dict("records") == [
        {"paper": "p", "cohort": "c", "arm": "a", "dice": 0.4}
    ]


def test_metrics_nest_means_and_count_verdicts():
    dice = pd.DataFrame(
        [("p", "c", "a", 0.4), ("p", "c", "b", 0.5)], columns=["paper", "cohort", "arm", "dice"]
    )
    claims = pd.DataFrame({"paper": ["p", "p"], "verdict": ["supported", "supported"]})
    assert metrics(dice, claims) == {
        "dice": {"p": {"c": {"a": 0.4, "b": 0.5}}},
        "claims": {"p": {"supported": 2, "contradicted": 0, "inconclusive": 0}},
    }


class TestCurves:
    def write(self, folder, run, steps, loss):
        (folder / run).mkdir(parents=True)
        history = pd.DataFrame({"step": steps, "loss": loss, "lr": 0.1})
        history.to_csv(folder / run / "history.csv", index=False)

    def test_are_means_over_seeds(self, tmp_path):
        runs = ["heart/half/slac/seed0-01", "heart/half/slac/seed1-02"]
        for run, loss in zip(runs, ([1.0, 3.0], [2.0, 4.0]), strict=True):
            self.write(tmp_path, run, [1, 2], loss)
        curves = training_curves(tmp_path, dict.fromkeys(runs, "slac"))
        assert list(curves["loss"].astype(float)) == [1.5, 3.5]
        assert set(curves["curve"]) == {"half slac"}

    def test_are_thinned_from_the_end(self, tmp_path):
        steps = list(range(1, 2 * POINTS + 2))
        self.write(tmp_path, "heart/half/slac/seed0-01", steps, [0.5] * len(steps))
        kept = list(training_curves(tmp_path, {"heart/half/slac/seed0-01": "slac"})["step"])
        assert len(kept) <= POINTS
        assert kept[-1] == steps[-1]
        assert set(pd.Series(kept).diff().dropna()) == {3}

    def test_what_is_not_trained_has_none(self, tmp_path):
        self.write(tmp_path, "heart/half/slac/seed0-01", [1], [0.5])
        self.write(tmp_path, "heart/whole/oracle/seed0-02", [], [])
        runs = ["heart/half/slac/seed0-01", "heart/whole/oracle/seed0-02"]
        assert set(training_curves(tmp_path, dict.fromkeys(runs, "slac"))["method"]) == {"slac"}

    def test_of_arms_that_share_a_method_are_not_averaged(self, tmp_path):
        runs = {"heart/half/slac/seed0-01": "slac", "heart/half/slac/seed0-02": "slac-longer"}
        for run, loss in zip(runs, (1.0, 3.0), strict=True):
            self.write(tmp_path, run, [1], [loss])
        curves = training_curves(tmp_path, runs)
        assert dict(zip(curves["curve"], curves["loss"].astype(float), strict=True)) == {
            "half slac (slac)": 1.0,
            "half slac (slac-longer)": 3.0,
        }
        assert list(curves.columns) == ["cohort", "annotation", "method", "curve", "step", "loss"]
