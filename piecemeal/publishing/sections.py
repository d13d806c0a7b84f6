"""From published files and their parameters to the sections of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from piecemeal.claim_specs import ClaimsFile
from piecemeal.errors import InputError
from piecemeal.evaluation.claims import least_p_holm, to_test
from piecemeal.figure_specs import FiguresFile
from piecemeal.papers import Paper
from piecemeal.publishing import ranks
from piecemeal.publishing.collect import circumstances, read_records, read_scores
from piecemeal.publishing.printed import lay_out
from piecemeal.publishing.published import read_published
from piecemeal.publishing.report import PaperSection, ReportFigure, ScaleNotice
from piecemeal.publishing.tables import read_back, read_table, treatments
from piecemeal.table_specs import Table


def paper_section(
    given: Mapping[str, Any],
    papers: Path,
    runs: Path,
    tables: Path,
    figures: Path,
    claims: pd.DataFrame,
) -> PaperSection:
    """The section of one paper.

    given: its parameters; papers: the folder of all papers; runs, tables, figures: the folders of
    the scale, the one of ranks lies beside that of tables; claims: claims.csv of the scale.
    """
    key = given["paper"]
    scores = read_scores(runs, given["runs"], given["cohorts"])
    records = read_records(runs, given["runs"])
    printed = []
    for content in given["tables"]:
        spec = Table.model_validate(content)
        name = f"{key}_{spec.key}.csv"
        rows = read_table(tables / name, spec)
        ranking = read_back(tables.with_name("ranks") / name, ranks.COLUMNS)
        done = {k: v for half in spec.halves for k, v in treatments(half, scores).items()}
        known = circumstances(given, records, done)
        published = read_published(spec, papers / key)
        printed.append(lay_out(spec, rows, published, known, ranking))
    drawn = [
        ReportFigure(spec.title, spec.caption, figures / f"{key}_{spec.key}.png")
        for spec in FiguresFile.model_validate({"figures": given["figures"]}).figures
    ]
    of_paper = claims[claims["paper"] == key]
    made = ClaimsFile.model_validate({"claims": given["claims"]}).claims
    not_run, left_out = (
        {name: about[what] for name, about in given["cohorts"].items()}
        for what in ("not_run", "left_out")
    )
    if set(of_paper["claim"]) != {claim.claim for claim in to_test(made, not_run, left_out)}:
        raise InputError(
            f"{tables.with_name('claims.csv')}: has other claims of {key} than are tested at this "
            "scale; delete it and start again"
        )
    of_paper = of_paper.assign(p_least=least_p_holm(made, of_paper))
    return PaperSection(Paper.model_validate(given["about"]), printed, of_paper, drawn)


def scale_notice(
    scale: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    equivalent_code: Mapping[str, str],
) -> ScaleNotice:
    """What the head of the report says; the sources are read off the runs' own records."""
    sources = {
        name: "phantom" if source["phantom"] else source["source"]
        for record in records
        for name, source in record["data_sources"].items()
    }
    shortened = list(scale["shortened"])
    shortened += [
        f"results of code {old} are kept for code {new}, declared equivalent in the configuration"
        for new, old in equivalent_code.items()
    ]
    return ScaleNotice(scale["name"], scale["title"], scale["notice"], shortened, sources)
