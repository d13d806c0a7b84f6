"""The report of one scale: claims, tables, figures and what was run, on one page."""

from pathlib import Path

from piecemeal.evaluation import claims
from piecemeal.jobs import run_job
from piecemeal.publishing.collect import read_records
from piecemeal.publishing.report import build_report
from piecemeal.publishing.sections import paper_section, scale_notice
from piecemeal.publishing.tables import read_back


def main(job) -> None:
    given, runs = job.params.given["papers"], Path(job.params.runs)
    tested = read_back(job.input.claims, claims.COLUMNS)
    tables, figures = Path(job.input.claims).parent / "tables", Path(job.params.figures)
    sections, records = [], {}
    for paper in given.values():
        sections.append(
            paper_section(paper, Path(job.params.papers), runs, tables, figures, tested)
        )
        records |= {record["hash"]: record for record in read_records(runs, paper["runs"])}
    scale = next(iter(given.values()))["scale"]
    notice = scale_notice(scale, list(records.values()), job.params.given["equivalent_code"])
    build_report(Path(job.output.report), notice, sections, list(records.values()))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
