"""What of a scale's data is passed on: the licence decides, in the path and in the table."""

import json
from pathlib import Path

import pytest

from piecemeal.datasets.passing_on import PLACES, check_places, tables
from piecemeal.errors import InputError
from piecemeal.plan import Planner

ROOT = Path(__file__).resolve().parents[2]
ABOUT = {"title": "A", "licence": "CC", "redistribution": "allowed", "citation": "B"}
FORBIDDEN = ABOUT | {"redistribution": "forbidden", "licence": "ours"}


def unit(kind: str) -> dict:
    return {"source": {"kind": kind}}


def of(tables: dict, place: str) -> dict[str, str]:
    return {row["dataset"]: row["cohorts"] for row in tables[place]}


def test_places_of_phantoms_open_and_restricted_data():
    raw = {"drawn": unit("phantom"), "open": unit("download"), "secret": unit("local")}
    prepared = {
        "heart": {"datasets": {"drawn": {}, "open": {}}, "restricted": False},
        "liver": {"datasets": {"open": {}, "secret": {}}, "restricted": True},
    }
    found = tables(raw, prepared, {"drawn": FORBIDDEN, "open": ABOUT, "secret": FORBIDDEN})
    assert set(found) == set(PLACES)
    assert of(found, "raw") == {"drawn": "heart"}
    assert of(found, "prepared") == of(found, "annotated") == {"drawn": "heart", "open": "heart"}
    assert of(found, "restricted") == {"open": "liver", "secret": "liver"}
    (drawn,) = found["raw"]
    assert drawn["licence"] == "drawn by this project"


@pytest.mark.parametrize("scale", ["smoke", "demo", "pocket", "paper"])
def test_a_cohort_with_one_data_set_that_may_not_be_passed_on_is_restricted(scale, tmp_path):
    local = {name: str(tmp_path) for name in ("acdc", "openkbp")}
    planner = Planner(ROOT, overrides={"local": local})
    plan = planner.plan(scale)
    for cohort, prepared in plan.prepared.items():
        real = [
            name
            for name in prepared.settings["datasets"]
            if plan.raw[name].settings["source"]["kind"] != "phantom"
        ]
        free = all(planner.dataset(name).redistribution == "allowed" for name in real)
        assert prepared.settings["restricted"] is not free, cohort
    for name, raw in plan.raw.items():
        assert raw.settings["restricted"] is (raw.settings["source"]["kind"] != "phantom"), name


def test_the_paper_scale_has_both():
    plan = Planner(ROOT).plan("paper")
    restricted = {c for c, unit in plan.prepared.items() if unit.settings["restricted"]}
    assert "abdominal" in restricted  # BTCV
    assert "cardiac" not in restricted  # ACDC and thigh phantoms are free


@pytest.mark.parametrize("source", ["download", "local"])
def test_what_lies_where_it_would_be_pushed_is_refused(tmp_path, source):
    folder = tmp_path / "prepared/liver-0123456789"
    folder.mkdir(parents=True)
    record = {"secret": {"source": source, "phantom": False, "sha256": "0"}}
    (folder / "sources.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"liver-0123456789.*secret.*ours.*delete it"):
        check_places(tmp_path, {"secret": FORBIDDEN})
    check_places(tmp_path, {"secret": ABOUT})


def test_a_phantom_may_lie_anywhere(tmp_path):
    folder = tmp_path / "prepared/liver-0123456789"
    folder.mkdir(parents=True)
    record = {"secret": {"source": "phantom", "phantom": True, "sha256": "0"}}
    (folder / "sources.json").write_text(json.dumps(record))
    check_places(tmp_path, {"secret": FORBIDDEN})


@pytest.mark.parametrize("source", ["download", "local"])
def test_raw_data_that_lie_where_they_lay_before_are_refused(tmp_path, source):
    folder = tmp_path / "raw/secret-0123456789"
    folder.mkdir(parents=True)
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"source": source}))
    with pytest.raises(InputError, match=rf"secret-0123456789.*{source}.*restricted/raw"):
        check_places(tmp_path, {"secret": ABOUT})
    manifest.write_text(json.dumps({"source": "phantom"}))
    check_places(tmp_path, {"secret": ABOUT})


@pytest.mark.parametrize(
    ("name", "content"),
    [("raw/secret-0123456789/manifest.json", text) for text in ("", "{", "[1]", "{}")]
    + [
        ("prepared/liver-0123456789/sources.json", text)
        for text in ("", "[]", '{"secret": {}}', '{"secret": 1}')
    ],
)
def test_data_that_do_not_say_what_they_are_are_refused(tmp_path, name, content):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(content)
    said = rf"{path}: cannot be read.*delete {path} and any cases.csv beside it .* and start again"
    with pytest.raises(InputError, match=said):
        check_places(tmp_path, {"secret": ABOUT})
