"""Draw one case of every data set, phantoms beside real cases where config/local.yaml has some."""

from pathlib import Path

from piecemeal.datasets.sources import dataset_root
from piecemeal.jobs import run_job
from piecemeal.publishing import style
from piecemeal.publishing.gallery import gallery


def main(job) -> None:
    folders = {name: Path(manifest).parent for name, manifest in job.params.manifests.items()}
    datasets = {}
    for name, about in job.params.given["datasets"].items():
        roots = {about["kind"]: dataset_root(folders[name])}
        if about["local"] and about["kind"] != "local":
            roots["real"] = Path(about["local"])
        datasets[name] = about | {"roots": roots}
    style.save(gallery(datasets), Path(job.output.png).with_suffix(""))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
