"""One figure of a paper, as png and as svg."""

from pathlib import Path

from piecemeal.figure_specs import FiguresFile
from piecemeal.jobs import run_job
from piecemeal.publishing.drawing import draw
from piecemeal.publishing.style import save
from piecemeal.table_specs import Table


def main(job) -> None:
    given = job.params.given
    (spec,) = FiguresFile.model_validate({"figures": [given["spec"]]}).figures
    table = Table.model_validate(given["table"]) if given["table"] else None
    prepared = {cohort: Path(folder) for cohort, folder in job.params.prepared.items()}
    figure = draw(spec, table, given, Path(job.params.runs), prepared)
    save(figure, Path(job.output.png).with_suffix(""))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
