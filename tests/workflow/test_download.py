"""A data set from its published archive through the workflow, without a network."""

import json

import yaml

from piecemeal.datasets.phantoms import load as load_phantom


def test_an_archive_that_is_there_is_checked_unpacked_and_prepared(project):
    downloads = project.folder / "data/downloads/msd09"
    load_phantom("msd").write(downloads, 5, 3, task="spleen", size=40, slices=20, packed=True)
    dataset = project.folder / "config/datasets/msd09.yaml"
    content = yaml.safe_load(dataset.read_text())
    for archive in content["archives"]:  # of the real one
        del archive["sha256"], archive["md5"]
    dataset.write_text(yaml.safe_dump(content, sort_keys=False))
    scale = project.folder / "config/scales/smoke.yaml"
    content = yaml.safe_load(scale.read_text())
    content["sources"]["msd09"] = {"kind": "download"}
    content["cohorts"] = {"liver_kidney_spleen": content["cohorts"]["liver_kidney_spleen"]}
    scale.write_text(yaml.safe_dump(content, sort_keys=False))

    project.snakemake("--cores", "2", "data")
    (raw,) = (project.folder / "data/smoke/restricted/raw").glob("msd09-*")
    manifest = json.loads((raw / "manifest.json").read_text())
    assert (manifest["source"], manifest["phantom"]) == ("download", False)
    assert (raw / "download/Task09_Spleen/dataset.json").is_file()
    lock = json.loads((downloads / "checksums.json").read_text())
    assert lock["Task09_Spleen.tar"]["first_use"] is True
    (cases,) = (project.folder / "data/smoke/prepared").glob("*/cases.csv")
    assert cases.read_text().count("\nmsd09,") == 5

    # A new mirror is no reason to do anything again.
    text = dataset.read_text().replace("msd-for-monai-eu", "a-third-mirror")
    dataset.write_text(text)
    assert project.planned_jobs("data") == {}

    # The file changed behind our back: it is refused, and what was made of it stays.
    (downloads / "Task09_Spleen.tar").write_bytes(b"something else")
    for made in (raw / "manifest.json", raw / "download.json"):
        made.unlink()
    wanted = str((raw / "manifest.json").relative_to(project.folder))
    code, output = project.snakemake("--cores", "1", wanted, check=False)
    assert code != 0
    assert "Task09_Spleen.tar" in output
    assert cases.is_file()
