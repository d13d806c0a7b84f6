"""One table of a paper: in long form, as markdown and as LaTeX, and how its arms rank."""

from pathlib import Path

from piecemeal.jobs import run_job
from piecemeal.provenance import write_text
from piecemeal.publishing.collect import (
    circumstances,
    read_records,
    read_scores,
    read_training,
    refuse_other_data,
)
from piecemeal.publishing.formats import to_latex, to_markdown
from piecemeal.publishing.printed import lay_out
from piecemeal.publishing.published import read_published
from piecemeal.publishing.ranks import build_ranks
from piecemeal.publishing.tables import build_table, treatments
from piecemeal.table_specs import Table


def main(job) -> None:
    given, runs = job.params.given, Path(job.params.runs)
    spec = Table.model_validate(given["spec"])
    cohorts = given["cohorts"]
    records = read_records(runs, given["runs"])
    refuse_other_data(records, job.params.prepared)
    scores = read_scores(runs, given["runs"], cohorts, last=spec.weights == "last")
    published = read_published(spec, Path(job.params.folder))
    not_run = {name: c["not_run"] for name, c in cohorts.items() if c["not_run"]}
    training = read_training(runs, given["runs"])
    rows = build_table(spec, scores, published, not_run, training)
    ranking = build_ranks(spec, scores)
    done = {k: v for half in spec.halves for k, v in treatments(half, scores).items()}
    known = circumstances(given, records, done)
    printed = lay_out(spec, rows, published, known, ranking)
    write_text(Path(job.output.markdown), to_markdown(printed))
    write_text(Path(job.output.latex), to_latex(printed))
    write_text(Path(job.output.long), rows.to_csv(index=False))
    write_text(Path(job.output.ranks), ranking.to_csv(index=False))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
