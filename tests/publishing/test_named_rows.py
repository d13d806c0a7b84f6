"""Arms that the paper's tables name by several columns, columns by source, rows side by side."""

import pandas as pd
import pytest
from pydantic import ValidationError

from piecemeal.errors import InputError
from piecemeal.publishing.footers import Circumstances
from piecemeal.publishing.formats import to_latex, to_markdown
from piecemeal.publishing.printed import lay_out
from piecemeal.publishing.published import as_printed, by_arm, read_published
from piecemeal.publishing.ranks import build_ranks
from piecemeal.publishing.tables import build_table, read_table
from piecemeal.table_specs import Table

DSC = {"name": "DSC", "score": "dice", "unit": "%", "decimals": 1, "better": "higher"}
ALL = {"name": "overall", "heading": "overall", "structures": ["liver", "spleen", "bladder"]}
HERE = Circumstances("demo", {"abdomen": "phantom"}, least_voxels={"abdomen": 50})


def arm(name, label, heading="", **named):
    return {"name": name, "label": label, "tex": label, "heading": heading} | named


def spec(arms, *columns):
    half = {"setting": "8 sets", "cohort": "abdomen", "columns": list(columns or [ALL])}
    return {
        **{"key": "t", "label": "Table 8", "title": "Slices", "base": "transunet"},
        **{"metrics": [DSC], "arms": arms, "halves": [half]},
    }


SLICES = [
    arm("axial-20", "axial", "20 %", method="ours", setting="8 sets, axial, 20%"),
    arm("axial-100", "axial", "100 %", method="ours", setting="8 sets, axial, 100%"),
    arm("coronal-20", "coronal", "20 %", method="ours", setting="8 sets, coronal, 20%"),
    arm("unet", "U-Net", method="ours", base="u-net"),
    arm("background", "background", role="floor"),
]


@pytest.fixture
def slices():
    return Table.model_validate(spec(SLICES))


def scored(*rows):
    """Scores from (arm, data set, modality, case, structure, dice)."""
    columns = ["arm", "dataset", "modality", "case", "structure", "dice"]
    return pd.DataFrame(rows, columns=columns).assign(
        **{"cohort": "abdomen", "postprocessing": "as predicted", "seed": 0, "phase": ""},
        **{"task": "", "status": "ok", "diagonal_mm": 20.0, "least_voxels": 50},
        **dict.fromkeys(["assd_mm", "hd_mm", "hd95_mm"], 1.0),
    )


@pytest.fixture
def scores():
    """Case a1 has two of the structures, m1 and w1 one; nobody has a bladder."""
    dice = {"axial-20": 0.5, "axial-100": 0.6, "coronal-20": 0.7, "unet": 0.4, "background": 0.0}
    return scored(
        *(
            (name, *place, value + more)
            for name, value in dice.items()
            for place, more in (
                (("amos", "CT", "a1", "liver"), 0.2),
                (("amos", "CT", "a1", "spleen"), 0.0),
                (("amos", "MR", "m1", "liver"), 0.0),
                (("word", "CT", "w1", "spleen"), 0.1),
            )
        )
    )


@pytest.fixture
def printed(tmp_path, slices):
    """Reads published numbers for three of the rows."""
    (tmp_path / "t.csv").write_text(
        "method,base,setting,column,metric,unit,mean,std\n"
        'ours,transunet,"8 sets, axial, 20%",overall,DSC,%,85.1,11.8\n'
        'ours,transunet,"8 sets, axial, 100%",overall,DSC,%,87.8,8.0\n'
        "ours,u-net,8 sets,overall,DSC,%,87.4,8.5\n"
    )
    table = slices.model_copy(update={"published": PUBLISHED})
    return table, read_published(table, tmp_path)


PUBLISHED = Table.model_validate(spec(SLICES) | {"published": {"file": "t.csv"}}).published


def test_a_published_row_is_that_of_its_arm(printed):
    _, published = printed
    assert published["method"].tolist() == ["axial-20", "axial-100", "unet"]
    assert set(published["setting"]) == {"8 sets"}


def test_a_published_row_of_no_arm_is_refused(tmp_path, printed):
    table, _ = printed
    path = tmp_path / "t.csv"
    path.write_text(path.read_text().replace("u-net", "v-net"))
    with pytest.raises(InputError, match=r"line 4.*'ours', '8 sets'.*no cell of table 't'"):
        read_published(table, tmp_path)


def test_the_long_form_names_rows_as_the_paper_does(printed, scores):
    table, published = printed
    rows = build_table(table, scores, published)
    assert rows[["method", "base", "setting"]].to_numpy().tolist() == [
        ["ours", "transunet", "8 sets, axial, 20%"],
        ["ours", "transunet", "8 sets, axial, 100%"],
        ["ours", "transunet", "8 sets, coronal, 20%"],
        ["ours", "u-net", "8 sets"],
        ["background", "transunet", "8 sets"],
    ]
    assert rows["published_mean"].tolist()[:2] == [85.1, 87.8]
    # axial-20: a1 is (0.7 + 0.5) / 2, m1 0.5, w1 0.6
    assert rows["mean"].iloc[0] == pytest.approx(100 * (0.6 + 0.5 + 0.6) / 3)
    assert rows["difference"].iloc[0] == pytest.approx(rows["mean"].iloc[0] - 85.1)


def test_names_of_the_paper_lead_back_to_the_arms(slices):
    places = [
        ("axial-100", "8 sets"),
        ("unet", "8 sets"),
        ("coronal-20", "8 sets, as predicted"),
    ]
    rows = pd.DataFrame(places, columns=["method", "setting"]).assign(base="transunet")
    named = as_printed(slices, rows)
    assert named["setting"].iloc[2] == "8 sets, coronal, 20%, as predicted"
    assert named["base"].tolist() == ["transunet", "u-net", "transunet"]
    back = by_arm(slices, named)
    assert list(zip(back["method"], back["setting"], strict=True)) == places


def test_arms_of_one_label_stand_side_by_side(printed, scores, tmp_path):
    table, published = printed
    build_table(table, scores, published).to_csv(tmp_path / "rows.csv", index=False)
    rows = read_table(tmp_path / "rows.csv", table)
    laid = lay_out(table, rows, published, HERE, build_ranks(table, scores))
    (block,) = laid.halves[0].blocks
    assert block.headings == ["20 %", "100 %"]
    numbers = {row.label: [cell.mean for cell in row.cells] for row in block.rows}
    assert numbers == {
        # means of three cases: the value, and on average 0.2 / 3 / 2 + 0.1 / 3 more
        "axial": ["56.7", "66.7"],
        "coronal": ["76.7", ""],  # there is no such arm
        "U-Net": ["46.7", "46.7"],  # one without heading stands below all
        "background": ["6.7", "6.7"],
    }
    assert [cell.best for cell in block.rows[1].cells] == [True, False]
    assert [cell.published for cell in block.rows[0].cells] == ["85.1 (11.8)", "87.8 (8.0)"]
    assert "axial 100 % 2" in dict(laid.footer)["Ranks"]
    assert "87.8 (8.0)" in to_markdown(laid)
    assert r"\multicolumn{1}{c}{100 \%}" in to_latex(laid)


def test_the_footer_says_what_is_too_small_to_be_scored(slices, scores, unpublished):
    rows = build_table(slices, scores, unpublished)
    footer = dict(lay_out(slices, rows, unpublished, HERE).footer)
    assert footer["Not scored"].startswith("structures with 50 voxels or fewer in the reference")
    assert "Not scored" not in dict(
        lay_out(slices, rows, unpublished, Circumstances("demo", {})).footer
    )


@pytest.fixture
def by_source():
    columns = [
        ALL | {"name": "AMOS-CT", "datasets": ["amos"], "modality": "CT"},
        ALL | {"name": "AMOS-MRI", "datasets": ["amos"], "modality": "MR"},
        ALL | {"name": "CT", "modality": "CT"},
        ALL | {"name": "BTCV", "datasets": ["btcv"]},
        {"name": "bladder", "heading": "B", "structure": "bladder"},
    ]
    return Table.model_validate(spec([arm("unet", "U-Net")], *columns))


def test_columns_keep_to_their_source(by_source, scores, unpublished):
    rows = build_table(by_source, scores, unpublished).set_index("column")
    # a1: (0.6 + 0.4) / 2; m1: 0.4; w1: 0.5
    assert rows["mean"].tolist()[:3] == pytest.approx([50.0, 40.0, 50.0])
    assert rows["n_cases"].tolist() == [1, 1, 2, 0, 0]
    # A source without a test scan, and a structure that is nowhere large enough, are no mistakes.
    assert rows.loc[["BTCV", "bladder"], "status"].tolist() == ["no case has it"] * 2


def test_elsewhere_a_structure_without_scores_is_a_mistake(by_source, scores, unpublished):
    with pytest.raises(InputError, match=r"\('bladder', ''\).* is in no score of cohort 'abdomen'"):
        build_table(by_source, scores.drop(columns="least_voxels"), unpublished)


def test_scores_must_say_their_modality_where_a_column_asks(by_source, scores, unpublished):
    with pytest.raises(InputError, match="do not say theirs"):
        build_table(by_source, scores.drop(columns="modality"), unpublished)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ([arm("a", "A", method="ours"), arm("b", "B", method="ours")], "are of two rows"),
        ([arm("a", "A", "20 %"), arm("b", "A", "20 %")], "label and heading of every arm"),
    ],
)
def test_rows_must_differ(arms, message):
    with pytest.raises(ValidationError, match=message):
        Table.model_validate(spec(arms))
