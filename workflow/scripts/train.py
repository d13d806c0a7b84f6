"""Train one run: a cohort, its annotation, a method, a seed."""

from pathlib import Path

from piecemeal.jobs import run_job
from piecemeal.training.loop import Training


def main(job) -> None:
    training = Training(
        job.params.settings,
        Path(job.input.prepared).parent,
        Path(job.input.annotated).parent,
        Path(job.params.checkpoints),
        job.threads,
    )
    training.run()  # continues from its own checkpoint if there is one
    training.export(Path(job.output.weights), Path(job.output.history), Path(job.output.record))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
