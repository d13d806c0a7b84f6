"""What holds the house together: imports run one way, and files stay small."""

import ast
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import piecemeal

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "piecemeal"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
RULES = sorted((ROOT / "rules").glob("*.smk"))

# A module imports from lower layers, and from its own package. One further module is one further
# word here.
LAYERS = [
    {"errors"},
    {
        *("bitmasks", "intensities", "labelsets", "orphans", "provenance", "registry"),
        *("in_words", "layout_types", "run_files", "set_softmax", "validation"),
    },
    {"annotations", "augmentation_specs", "jobs", "losses", "networks", "sharing", "site"}
    | {"layout_options", "plan_file", "sampler_specs", "slice_sums", "table_specs"},
    {
        "ambiguity",
        "annotation_specs",
        "claim_specs",
        "dataset_specs",
        "figure_specs",
        "projection_specs",
        "training_specs",
    },
    {"recipes"},
    {"papers"},
    {"cohort_specs"},
    {"agreement", "config"},
    {"datasets", "evaluation", "methods", "plan_data"},
    {"plan"},
    {"estimates"},
    {"training"},
    {"inference", "label_maps"},
    {"publishing", "scoring", "status"},
    {"prediction"},
    {"cli"},
    {"__main__"},
]
LAYER = {part: height for height, layer in enumerate(LAYERS) for part in layer}
WITHOUT_TORCH = ["annotations", "config", "datasets", "errors", "jobs", "labelsets", "papers"]
WITHOUT_TORCH += ["augmentation_specs", "evaluation", "plan", "plan_file", "provenance", "registry"]
WITHOUT_TORCH += ["publishing", "table_specs", "training_specs", "validation", "status", "cli"]
WITHOUT_TORCH += [
    "bitmasks",
    "cohort_specs",
    "annotation_specs",
    "dataset_specs",
    "estimates",
    "plan_data",
    "sharing",
]
WITHOUT_TORCH += ["agreement", "claim_specs", "figure_specs", "orphans", "projection_specs"]
WITHOUT_TORCH += ["in_words", "layout_options", "layout_types", "recipes", "run_files", "site"]
WITHOUT_TORCH += ["label_maps", "sampler_specs"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part_of(path: Path) -> str:
    """`losses` of piecemeal/losses.py, `methods` of piecemeal/methods/slac.py."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """Every module that the file imports anywhere, names of `from a import b` as a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names}
    return names


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path):
    if path == PACKAGE / "__init__.py":
        assert imported(path) == set()
        return
    own = part_of(path)
    assert own in LAYER, f"give {own} its place in LAYERS"
    for name in imported(path):
        if name.startswith("piecemeal."):
            other = name.split(".")[1]
            assert other == own or LAYER[other] < LAYER[own], f"{own} must not import {other}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_package_knows_no_workflow_manager(path):
    foreign = {name.split(".")[0] for name in imported(path)}
    assert not foreign & {"snakemake", "dvc", "workflow", "scripts", "tests"}


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=name_of)
def test_imports_are_absolute(path):
    # The hash of the code follows absolute imports only.
    assert not {name for name in imported(path) if name.startswith(".")}


def test_what_plans_and_prepares_needs_no_torch():
    modules = [
        m.name
        for m in pkgutil.walk_packages(piecemeal.__path__, "piecemeal.")
        if m.name.split(".")[1] in WITHOUT_TORCH
    ]
    assert "piecemeal.datasets.prepare" in modules
    code = "import importlib, sys\n" + "".join(f"importlib.import_module('{m}')\n" for m in modules)
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("paths", "limit"),
    [(MODULES, 300), (SCRIPTS, 60), (RULES, 150), ([ROOT / "Snakefile"], 60)],
    ids=["modules", "scripts", "rules", "Snakefile"],
)
def test_files_are_small(paths, limit):
    assert paths
    assert {name_of(p): lines(p) for p in paths if lines(p) > limit} == {}


@pytest.mark.parametrize("path", RULES, ids=name_of)
def test_rules_scripts_and_logs_share_their_name(path):
    text = path.read_text(encoding="utf-8")
    for name, body in re.findall(r"^rule (\w+):\n((?:[ \t].*\n|\n)*)", text, re.MULTILINE):
        if "script:" not in body:
            continue
        (script,) = re.findall(r'script:\s*"([^"]+)"', body)
        assert script == f"../workflow/scripts/{name}.py"
        assert (path.parent / script).is_file()
        (log,) = re.findall(r'log:\s*"([^"]+)"', body)
        assert re.match(rf"<logs>/{name}[/.]", log)
        for benchmark in re.findall(r'benchmark:\s*"([^"]+)"', body):
            assert re.match(rf"<benchmarks>/{name}[/.]", benchmark)


def test_every_script_has_its_rule():
    text = "".join(path.read_text(encoding="utf-8") for path in RULES)
    assert {p.stem for p in SCRIPTS} <= set(re.findall(r"^rule (\w+):", text, re.MULTILINE))


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_script_is_a_main_and_nothing_else_at_import(path):
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in body)
    allowed = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.Expr | ast.If
    assert all(isinstance(node, allowed) for node in body)
    (guard,) = [node for node in body if isinstance(node, ast.If)]
    assert ast.unparse(guard.test) == "__name__ == '__main__'"
