"""What a plan will cost before anything of it is done."""

import pytest

from piecemeal import estimates
from piecemeal.plan import Plan, Unit

GRID = {"spacing_mm": [None, 1.0, 1.0], "size": [None, 32, 32], "fit": False}
METHOD = {
    "cohort": "liver",
    "network": "baumgartner_unet",
    "network_options": {"width": 4, "padding": "same"},
    "implementation": "cross_entropy",
    "method_options": {},
    "classes": 3,
    "input": {"kind": "slices", "neighbours": 0},
    "batch_size": 2,
    "training": {"steps": 10},
}


def archive(**changes):
    given = {"name": "a.zip", "urls": ["https://example.org/a.zip"], "bytes": None, "numbers": []}
    return given | {"approximate_gb": None} | changes


def plan(runs=(), archives=(), downloads="downloads", grid=GRID):
    raw = {
        "phantom": Unit("0", {"source": {"kind": "phantom"}}),
        "lits": Unit(
            "1",
            {
                "source": {"kind": "download"},
                "all_of_archives": list(archives),
                "downloads": str(downloads),
            },
        ),
    }
    prepared = {"liver": Unit("2", {"grid": grid})}
    units = {f"run{n}": Unit(str(n), dict(run)) for n, run in enumerate(runs)}
    return Plan("demo", raw, prepared, {}, units, {}, {})


def test_only_downloads_count_and_only_what_is_not_there(tmp_path):
    (tmp_path / "there.zip").write_bytes(b"1234")
    archives = [
        archive(name="there.zip", bytes=4),
        archive(name="known.zip", bytes=1000),
        archive(name="about.zip", approximate_gb=2.5, urls=[]),
        archive(name="unknown.zip"),
    ]
    (found,) = estimates.downloads(plan(archives=archives, downloads=tmp_path))
    assert found == estimates.Download("lits", 2_500_001_000, unknown=1, by_hand=1, there_bytes=4)


def test_numbered_files_are_counted_one_by_one(tmp_path):
    (tmp_path / "case_0007.nii.gz").write_bytes(b"12")
    many = archive(
        name="case_{number:04d}.nii.gz",
        urls=["https://example.org/{number}"],
        numbers=[(5, 9), (20, 24)],
        approximate_gb=1,
    )
    (found,) = estimates.downloads(plan(archives=[many], downloads=tmp_path))
    assert found.missing_bytes == pytest.approx(9e8)
    assert found.there_bytes == 2


def test_hours_are_the_operations_of_training_over_those_of_the_gpu():
    hours = estimates.gpu_hours(plan([METHOD]), tflops=1e-6)["run0"]
    twice = METHOD | {"training": {"steps": 20}}
    wider = METHOD | {"network_options": {"width": 8, "padding": "same"}}
    larger = estimates.gpu_hours(plan([twice, wider]), tflops=1e-6)
    assert hours > 0
    assert larger["run0"] == pytest.approx(2 * hours)
    assert 3 < larger["run1"] / hours < 4.2  # twice the channels in and out of most layers
    assert estimates.gpu_hours(plan([METHOD]), tflops=2e-6)["run0"] == pytest.approx(hours / 2)


def test_the_operations_are_those_of_the_network(monkeypatch):
    import torch

    from piecemeal import networks

    def convolution(name, in_channels, out_channels, **options):
        return torch.nn.Conv2d(in_channels, out_channels, 3, padding=1)

    monkeypatch.setattr(networks, "build", convolution)
    hours = estimates.gpu_hours(plan([METHOD]), tflops=1e-12)["run0"]
    multiplications = 32 * 32 * 9 * 1 * 3  # pixels, kernel, channels in and out
    assert hours * 3600 == pytest.approx(2 * multiplications * 3 * 10 * 2)


def test_a_step_counts_as_often_as_its_samples_are_seen(monkeypatch):
    """UniMOS with n labelled and n unlabelled rows: 4 n through the encoder, 5 n the decoder."""
    slac, unimos = (METHOD | {"implementation": name} for name in ("slac", "unimos"))
    hours = estimates.gpu_hours(plan([slac, unimos]), tflops=1e-6)
    assert hours["run1"] == pytest.approx((4 + 5) / 2 / 2 * hours["run0"])


def test_of_a_network_for_each_structure_a_sample_sees_one():
    kiu_net = METHOD | {"implementation": "kiu_net", "network": "kiu_net", "network_options": {}}
    few, many = (kiu_net | {"classes": classes} for classes in (2, 5))
    hours = estimates.gpu_hours(plan([few, many]), tflops=1e-6)
    assert hours["run1"] == pytest.approx(hours["run0"])


def test_a_method_without_network_costs_nothing():
    assert estimates.gpu_hours(plan([METHOD | {"network": None}]), 1.0) == {"run0": 0.0}


def test_slices_of_any_size_are_of_unknown_length_and_patches_are_not():
    open_grid = GRID | {"size": [None, None, None]}
    patches = METHOD | {"input": {"kind": "patches", "size": [8, 16, 16]}}
    assert estimates.gpu_hours(plan([METHOD], grid=open_grid), 1.0) == {"run0": None}
    assert estimates.input_shape(plan(grid=open_grid), patches) == (1, 8, 16, 16)
