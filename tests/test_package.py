"""The package as a whole: files that must agree, the ladder of notebooks, imports that must stay light."""

import ast
import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fusionbook

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted(path for path in (ROOT / "nbs").glob("[0-9]*.ipynb"))
NOTEBOOKS = sorted(path for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def cells(path, kind="code"):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def module_of(path):
    for source in cells(path):
        found = re.search(r"^#\|\s*default_exp\s+(\w+)", source, re.M)
        if found:
            return found.group(1)
    return None


def test_settings_equal_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    parser = configparser.ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini")
    settings = parser["DEFAULT"]
    about = project["project"]
    nbdev = project["tool"]["nbdev"]
    assert settings["lib_name"] == about["name"]
    assert settings["version"] == fusionbook.__version__
    assert settings["description"] == about["description"]
    assert settings["keywords"].split() == about["keywords"]
    assert settings["author"] == about["authors"][0]["name"]
    assert f">={settings['min_python']}" == about["requires-python"]
    assert settings["requirements"].split() == about["dependencies"]
    assert settings["dev_requirements"].split() == about["optional-dependencies"]["dev"]
    assert settings["console_scripts"] == f"fusionbook={about['scripts']['fusionbook']}"
    for key in ("lib_path", "nbs_path", "doc_path", "tst_flags"):
        assert settings[key] == nbdev[key]


def test_export_changes_nothing(tmp_path):
    shutil.copytree(ROOT / "nbs", tmp_path / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copytree(
        ROOT / "fusionbook", tmp_path / "fusionbook", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    subprocess.run([str(Path(sys.executable).parent / "nbdev-export")], cwd=tmp_path, check=True)
    for path in sorted((tmp_path / "fusionbook").glob("*.py")):
        committed = ROOT / "fusionbook" / path.name
        assert committed.exists(), f"{path.name} is new: run nbdev-export"
        assert path.read_text() == committed.read_text(), f"{path.name} differs: run nbdev-export"


def test_readme_is_the_index_notebook():
    subprocess.run([sys.executable, str(ROOT / ".ci" / "readme.py"), "--check"], check=True)


def test_notebooks_import_lower_numbers_only():
    rung = {module_of(path): int(path.name[:2]) for path in LIBRARY}
    assert None not in rung and len(rung) == len(LIBRARY)
    for path in LIBRARY:
        own = int(path.name[:2])
        for source in cells(path):
            for name in re.findall(r"^\s*from fusionbook\.(\w+) import", source, re.M):
                if name.startswith("_"):
                    continue
                assert rung[name] < own, f"{path.name} imports {name}, which stands at {rung[name]:02d}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_form(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert "widgets" not in notebook["metadata"], "saved widget state"
    assert path.stat().st_size < 1_500_000
    for number, source in enumerate(cells(path)):
        exported = re.match(r"\s*#\|\s*export", source)
        lines = [line for line in source.splitlines() if line.strip() and not line.startswith("#|")]
        if exported:
            assert len(lines) <= 40, f"code cell {number} exports {len(lines)} lines"
        assert not re.search(r"^from\s+\S+\s+import\s+\*", source, re.M), f"code cell {number}: star import"
        code = "\n".join(line for line in source.splitlines() if not line.startswith(("%", "!")))
        tree = ast.parse(code)
        imports = [isinstance(node, (ast.Import, ast.ImportFrom)) for node in tree.body]
        assert all(imports) or not any(imports), f"code cell {number} mixes imports with other code"
        starts = [node.lineno for node in tree.body]
        assert len(starts) == len(set(starts)), f"code cell {number} has two statements on one line"


@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if p.parent.name == "tutorials"], ids=lambda path: path.stem
)
def test_tutorials_keep_light_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in code), "tutorials keep their outputs"
    for cell in code:
        for output in cell["outputs"]:
            for kind, data in output.get("data", {}).items():
                text = data if isinstance(data, str) else json.dumps(data)
                assert len(text) < 205_000, f"an output of {len(text)} characters of {kind}"
                assert "plotly.js v" not in text, "embedded plotly.js"


def test_import_is_light():
    code = (
        "import sys; import fusionbook; "
        "heavy = [m for m in ('jupyterlab', 'plotly', 'ipywidgets', 'sklearn', 'torch_geometric') if m in sys.modules]; "
        "print(heavy)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_public_names_load_and_are_documented():
    names = [name for name in fusionbook.__all__ if name != "__version__"]
    assert set(names) == {
        "read_molecules",
        "MoleculeTable",
        "sparsify",
        "split_molecules",
        "load_xtb",
        "compute_xtb",
        "download_qm9",
        "download_moleculenet",
        "TrainConfig",
        "SingleTask",
        "MultiTask",
        "FusedMultiTask",
        "compare",
        "load_model",
        "leverage_scores",
        "choose_rank",
        "pca",
        "block_leverage",
        "transfer_matrix",
        "connection_network",
        "feature_card",
        "applicability_domain",
        "fit_intervals",
        "describe",
        "explore",
    }
    for name in names:
        assert len(getattr(fusionbook, name).__doc__) > 60
    with pytest.raises(AttributeError, match="no attribute 'fuse_all'"):
        _ = fusionbook.fuse_all
    code = "import sys, fusionbook; fusionbook.FusedMultiTask; print([m for m in ('plotly', 'ipywidgets') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_nothing_unpickles():
    for path in (ROOT / "fusionbook").glob("*.py"):
        source = path.read_text()
        assert not re.search(r"\b(import|from)\s+pickle\b|torch\.load\(|allow_pickle=True", source), path.name


POOL_IN_A_CHILD = """
import math, multiprocessing
from joblib import delayed
from fusionbook.core import parallel

def work():
    assert parallel(2)(delayed(math.sqrt)(number) for number in (1, 4, 9)) == [1, 2, 3]
    assert multiprocessing.active_children()

if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    raise SystemExit(child.exitcode)
"""


def test_a_child_process_ends_when_its_work_is_done(tmp_path):
    """joblib's idle workers live for 300 s; a `multiprocessing` child that used them would wait for their end."""
    script = tmp_path / "pool.py"
    script.write_text(POOL_IN_A_CHILD)
    subprocess.run([sys.executable, str(script)], check=True, timeout=200)
