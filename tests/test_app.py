"""The command line from end to end on small files, its errors and exit codes, and the report."""

import base64
import html.parser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors

import fusionbook
import fusionbook.datasets
from fusionbook import app
from fusionbook.core import InputError, RowsWarning, assert_array
from fusionbook.molecules import read_molecules

EVIL = "<img src=x onerror=alert(1)>"
FAST = ["--epochs", "1", "--min-steps", "40", "--width", "16", "--jobs", "1"]
PARTS = ["--fractions", "0.6", "0.2", "0.2"]
ONE_NETWORK = ["--tasks", "logP", "--model", "multi"]


def chains(n=60):
    ends = ("O", "N", "S", "c1ccccc1", "C(=O)")
    smiles = ["C" * (1 + i // 5) + ends[i % 5] + "C" for i in range(n)]
    mols = [Chem.MolFromSmiles(text) for text in smiles]
    frame = pd.DataFrame({"name": [f"0{i}" for i in range(n)], "smiles": smiles})
    frame["mass (g/mol)"] = [Descriptors.MolWt(mol) for mol in mols]
    frame["logP"] = [Descriptors.MolLogP(mol) for mol in mols]
    frame.loc[np.random.default_rng(0).uniform(size=n) < 0.4, "logP"] = np.nan
    return frame


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A table, molecules to predict, and a trained fused model with an ensemble of two."""
    here = tmp_path_factory.mktemp("app")
    chains().to_csv(here / "data.csv", index=False)
    rows = [("001", "CCO", "x"), ("002", "not a molecule", "y"), ("003", "", "z"), ("004", "c1ccccc1", "")]
    pd.DataFrame(rows, columns=["code", "smiles", "remark"]).to_csv(here / "new.csv", index=False)
    arguments = ["train", here / "data.csv", "--tasks", "mass (g/mol)", "logP", "--out", here / "model"]
    assert app.main([*map(str, arguments), *FAST, *PARTS, "--ensemble", "2"]) == 0
    return here


@pytest.fixture
def run(capsys):
    def call(*arguments):
        capsys.readouterr()
        code = app.main([str(one) for one in arguments])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return call


# ---------------------------------------------------------------- the commands


def test_help_of_every_command_has_examples(capsys):
    for command in ("quickstart", "train", "predict", "embed", "compare", "app", "lab"):
        assert app.main([command, "--help"]) == 0
        out = capsys.readouterr().out
        assert f"fusionbook {command}" in out.split("examples:")[1]
    assert app.main(["--help"]) == 0
    assert app.main(["--version"]) == 0
    assert fusionbook.__version__ in capsys.readouterr().out


def test_help_tells_the_true_defaults(capsys):
    config = fusionbook.SingleTask.default_config
    many = fusionbook.MultiTask.default_config
    app.main(["train", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for option, value in (
        ("--epochs", config.epochs),
        ("--min-steps", f"{config.min_steps}; MT: {many.min_steps}"),
        ("--max-steps", config.max_steps),
        ("--width", config.d_h),
    ):
        assert re.search(rf"{option} N [^-]*\(default: {value}\)", words), option
    assert config.d_h == config.head_width == many.d_h == many.head_width
    assert config.epochs == many.epochs and config.max_steps == many.max_steps


def test_more_steps_than_the_cap_lift_the_cap():
    parse = app.build_parser().parse_args
    command = ["train", "data.csv", "--out", "model"]
    changes = app._config_changes(parse([*command, "--min-steps", "30000"]))
    assert changes == {"min_steps": 30_000, "max_steps": 30_000}
    assert fusionbook.TrainConfig().max_steps == 20_000
    changes = app._config_changes(parse([*command, "--min-steps", "30000", "--max-steps", "500"]))
    assert changes == {"min_steps": 30_000, "max_steps": 500}


def test_help_needs_neither_torch_nor_plotly():
    code = (
        "import sys; from fusionbook import app; app.main(['--help']); "
        "print(sorted({'torch', 'plotly', 'torch_geometric', 'ipywidgets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_train_writes_model_and_split(files):
    assert {path.name for path in (files / "model").iterdir()} == {
        "config.json",
        "weights.safetensors",
        "split.csv",
        "rejected.csv",
        "test_errors.csv",
    }
    parts = pd.read_csv(files / "model" / "split.csv")
    table = read_molecules(files / "data.csv", tasks=["logP"])
    assert parts["smiles"].tolist() == list(table.smiles)
    assert parts["split"].value_counts().to_dict() == {"train": 36, "valid": 12, "test": 12}
    errors = pd.read_csv(files / "model" / "test_errors.csv")
    model = fusionbook.load_model(files / "model")
    test = table.select(parts["row"][parts["split"] == "test"].to_numpy())
    expected = np.nanmean(np.abs(model.predict(test)["logP"].to_numpy() - test.Y[:, 0]))
    own = errors[(errors["task"] == "logP") & (errors["model"] == "F-MT")]
    assert own["MAE"].iloc[0] == pytest.approx(expected, rel=1e-9)


def test_predict_keeps_rows_and_columns_and_equals_the_library(files, run):
    out = files / "made" / "predictions.csv"
    code, _, err = run("predict", files / "model", files / "new.csv", "--out", out, "--spread")
    assert code == 0
    assert "note: 2 of 4 rows could not be read; column 'problem' says why" in err
    assert "first: row 1, counted from 0 (not valid SMILES syntax)" in err
    assert sorted(path.name for path in out.parent.iterdir()) == ["predictions.csv"]
    written = pd.read_csv(out, dtype={"code": str}, keep_default_na=False)
    assert list(written.columns) == [
        "row",
        "code",
        "smiles",
        "remark",
        "mass (g/mol) predicted",
        "logP predicted",
        "mass (g/mol) spread",
        "logP spread",
        "problem",
    ]
    assert written["row"].tolist() == [0, 1, 2, 3]
    assert written["code"].tolist() == ["001", "002", "003", "004"]
    assert written["remark"].tolist() == ["x", "y", "z", ""]
    assert written["problem"].tolist() == ["", "not valid SMILES syntax", "the SMILES cell is empty", ""]
    expected = fusionbook.load_model(files / "model").predict(["CCO", "c1ccccc1"], spread=True)
    got = written.loc[[0, 3]].iloc[:, 4:8].astype(float).to_numpy()
    assert_array(got, expected.to_numpy(), rtol=5e-6)
    assert (written.loc[[1, 2]].iloc[:, 4:8] == "").all(axis=None)


def test_predict_reads_and_writes_parquet_and_keeps_types(files, run):
    frame = pd.DataFrame({"number": [3, 4], "structure": ["CCO", "CCN"], "logP predicted": [0.0, 1.0]})
    frame["problem"] = ["none", "some"]
    frame.to_parquet(files / "new.parquet")
    out = files / "predictions.parquet"
    code, _, err = run(
        "predict", files / "model", files / "new.parquet", "--smiles-column", "structure", "--out", out
    )
    assert (code, err) == (0, "")
    written = pd.read_parquet(out)
    new = ["mass (g/mol) predicted", "logP predicted 2", "problem 2"]
    assert list(written.columns) == ["row", *frame.columns, *new]
    assert written["problem 2"].isna().all()
    pd.testing.assert_frame_equal(written[frame.columns.tolist()], frame)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".npz", ".NPZ"])
def test_embed_equals_the_library(files, run, ending):
    out = files / f"embeddings{ending}"
    code, _, err = run("embed", files / "model", files / "new.csv", "--out", out)
    assert code == 0 and "2 of 4 rows could not be read" in err
    blocks = fusionbook.load_model(files / "model").embed(["CCO", "c1ccccc1"])
    if ending.lower() == ".npz":
        saved = np.load(out, allow_pickle=False)
        Z = saved["Z"]
        assert saved["blocks"].tolist() == blocks.names
        assert_array(saved["block_of"], blocks.block_of)
        smiles = saved["smiles"].tolist()
    else:
        frame = pd.read_csv(out) if ending == ".csv" else pd.read_parquet(out)
        smiles = frame["smiles"].fillna("").tolist()
        Z = frame.drop(columns=["row", "smiles"]).to_numpy()
        assert frame.columns[:3].tolist() == ["row", "smiles", "mass 0"]
        rejected = pd.read_csv(f"{out}.rejected.csv", keep_default_na=False)
        assert rejected["row"].tolist() == [1, 2] and f"{out}.rejected.csv" in err
    assert smiles == ["CCO", "not a molecule", "", "c1ccccc1"]
    assert_array(Z[[0, 3]], blocks.concatenate(), rtol=1e-5, atol=1e-7)
    assert np.isnan(Z[[1, 2]]).all()


DIES = """
import os, signal, sys
from fusionbook import app
rename, done = os.replace, []

def dies_after_five_parts(source, target):
    rename(source, target)
    done.append(os.path.basename(target))
    if sum(name.startswith("rows-") for name in done) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = dies_after_five_parts
sys.exit(app.main())
"""


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_killed_prediction_goes_on_and_ends_the_same(files, run, tmp_path, ending):
    load = {".csv": pd.read_csv, ".parquet": pd.read_parquet}[ending]
    smiles = ["C" * (1 + i % 9) + "OSN?"[i % 4] for i in range(400)]
    pd.DataFrame({"id": range(400), "smiles": smiles}).to_csv(tmp_path / "many.csv", index=False)
    arguments = ["predict", files / "model", tmp_path / "many.csv", "--chunk-rows", "4", "--out"]
    out, whole = tmp_path / f"out{ending}", tmp_path / f"whole{ending}"
    command = [sys.executable, "-c", DIES, *map(str, arguments), str(out)]
    died = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert died.returncode == -signal.SIGKILL
    parts = Path(f"{out}.parts")
    assert parts.is_dir() and not out.exists()

    code, _, err = run(*arguments[:-1], "--out", out, "--spread")
    assert code == 2 and "another model or other options" in err and "--restart" in err
    code, _, err = run(*arguments, out)
    done = int(re.search(r"note: (\d+) of 400 rows were there already", err).group(1))
    assert code == 0 and done == 20
    assert "note: 100 of 400 rows could not be read" in err
    assert run(*arguments, whole)[0] == 0
    # The two runs may use another number of threads, so the numbers agree to rounding, not to the bit.
    pd.testing.assert_frame_equal(load(out), load(whole), rtol=1e-5, atol=1e-6)
    assert not parts.exists()


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_a_stopped_run_is_resumed_or_started_afresh(files, run, tmp_path, monkeypatch, command):
    frame = pd.DataFrame({"smiles": ["C" * n + "O" for n in range(1, 10)]})
    frame.to_csv(tmp_path / "nine.csv", index=False)
    arguments = [command, files / "model", tmp_path / "nine.csv", "--out", tmp_path / "out.parquet"]
    arguments += ["--chunk-rows", "2"]
    kind = fusionbook.FusedMultiTask
    method, seen, stop_at = getattr(kind, command), [], [6]

    def stopping(self, molecules, **options):
        seen.extend(text for text in molecules if text != "C")
        if len(seen) == stop_at[0]:
            raise KeyboardInterrupt
        return method(self, molecules, **options)

    def again(stop, *more):
        seen.clear()
        stop_at[0] = stop
        return run(*arguments, *more)

    monkeypatch.setattr(kind, command, stopping)
    code, _, err = again(6)
    assert code == 130 and "the same command goes on" in err
    code, _, err = again(None)
    assert code == 0 and "note: 4 of 9 rows were there already" in err
    assert seen == frame["smiles"].tolist()[4:]
    first = (tmp_path / "out.parquet").read_bytes()
    assert again(6)[0] == 130
    code, _, err = again(None, "--restart")
    assert (code, err) == (0, "")
    assert seen == frame["smiles"].tolist()
    assert (tmp_path / "out.parquet").read_bytes() == first


def test_the_size_of_a_chunk_changes_nothing(files, run, tmp_path):
    frame = pd.DataFrame({"smiles": ["C(", "", *("C" * n for n in range(1, 8)), "C1", "N"]})
    frame.to_csv(tmp_path / "odd.csv", index=False)
    read = []
    for rows in (1, 2, 100):
        out = tmp_path / f"{rows}.csv"
        code, _, err = run(
            "predict", files / "model", tmp_path / "odd.csv", "--out", out, "--chunk-rows", rows
        )
        assert code == 0 and "3 of 11 rows" in err
        read.append(pd.read_csv(out))
    assert read[0]["problem"].notna().tolist() == [True, True] + [False] * 7 + [True, False]
    for other in read[1:]:
        pd.testing.assert_frame_equal(read[0], other, rtol=2e-5)


@pytest.mark.parametrize(
    ("command", "ending"),
    [("predict", ".csv"), ("predict", ".parquet"), ("embed", ".csv.gz"), ("embed", ".npz")],
)
def test_a_file_without_any_molecule_is_refused(files, run, tmp_path, command, ending):
    (tmp_path / "none.csv").write_text("smiles\n?\nC(\n")
    code, _, err = run(command, files / "model", tmp_path / "none.csv", "--out", tmp_path / f"out{ending}")
    assert code == 2
    assert "No row has a usable molecule" in err and "not valid SMILES" in err and "right column?" in err
    assert [path.name for path in tmp_path.iterdir()] == ["none.csv"]


@pytest.mark.parametrize(
    ("command", "ending"),
    [("predict", ".csv"), ("predict", ".parquet"), ("embed", ".csv"), ("embed", ".npz")],
)
def test_a_refused_run_leaves_the_results_of_an_earlier_one(files, run, tmp_path, command, ending):
    frame = pd.DataFrame({"smiles": ["CCO", "C("], "name": ["one?", "two?"]})
    frame.to_csv(tmp_path / "new.csv", index=False)
    arguments = [command, files / "model", tmp_path / "new.csv", "--out", tmp_path / f"out{ending}"]
    assert run(*arguments)[0] == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code, _, err = run(*arguments, "--smiles-column", "name", "--restart")
    assert code == 2 and "No row has a usable molecule" in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_compare_writes_report_and_errors(files, run):
    out = files / "report.html"
    save = files / "kept"
    code, printed, err = run(
        "compare",
        files / "data.csv",
        *FAST,
        *PARTS,
        "--out",
        out,
        "--save-model",
        save,
        "--label-fraction",
        "0.8",
    )
    assert code == 0, err
    errors = pd.read_csv(files / "report_errors.csv")
    assert set(errors["model"]) == {"mean", "untrained", "ST", "MT", "F-MT"}
    assert set(errors["task"]) == {"mass", "logP", "name"}  # a code such as 01 is a number, too
    for value in errors["MAE / sd"]:
        assert f"{value:.3f}" in printed
    page = out.read_text(encoding="utf-8")
    assert len(page) < 12e6
    for text in (
        "report.html",
        "--label-fraction 0.8",
        fusionbook.__version__,
        "36 train, 12 validation, 12 test",
    ):
        assert text in page
    assert type(fusionbook.load_model(save)).__name__ == "FusedMultiTask"


def test_compare_can_split_by_a_column_and_choose_models(files, run):
    frame = chains().assign(part=["train"] * 40 + ["valid"] * 10 + ["test"] * 10)
    frame.to_csv(files / "parts.csv", index=False)
    code, printed, err = run(
        "compare", files / "parts.csv", *FAST, "--split-column", "part", "--models", "mean", "F-MT",
        "--tasks", "mass", "logP", "--out", files / "parts.html",
    )  # fmt: skip
    assert code == 0, err
    errors = pd.read_csv(files / "parts_errors.csv")
    assert set(errors["model"]) == {"mean", "F-MT"}
    counts = errors.groupby("task")["n_train"].unique().map(list).to_dict()
    assert counts == {"mass": [40], "logP": [frame["logP"][:40].notna().sum()]}


def test_the_same_seed_gives_the_same_predictions(files, run):
    for name in ("one", "two"):
        arguments = [
            "train",
            files / "data.csv",
            "--tasks",
            "logP",
            "--model",
            "single",
            "--out",
            files / name,
        ]
        assert run(*arguments, *FAST, *PARTS, "--seed", "7", "--quiet")[0] == 0
    one, two = (fusionbook.load_model(files / name).predict(["CCO", "CCCS"]) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two)


def test_quickstart_goes_the_whole_way(files, run, monkeypatch):
    frame = chains().drop(columns="name")
    frame["logP"] = frame["logP"].fillna(1.5)
    monkeypatch.setattr(fusionbook.datasets, "load_xtb", lambda: read_molecules(frame))
    quick = dict(max_molecules=55, keep=(0.6, 0.9), fractions=(0.6, 0.2, 0.2), seed=0)
    quick["config"] = dict(d_h=16, head_width=16, min_steps=40, epochs=1)
    monkeypatch.setattr(app, "QUICKSTART", quick)
    out = files / "quick start"
    code, printed, err = run("quickstart", "--out", out)
    assert code == 0, err
    for name in ("mean", "untrained", "ST", "MT", "F-MT"):
        assert re.search(rf"\b{name}\b", printed)
    assert (out / "report.html").is_file()
    command = re.search(r"fusionbook (predict .*)", printed).group(1)
    assert run(*shlex.split(command))[0] == 0
    predictions = pd.read_csv(out / "predictions.csv")
    assert predictions["name"].tolist() == list(app.EXAMPLES)
    assert predictions.drop(columns=["name", "smiles", "problem"]).notna().all(axis=None)
    assert predictions["problem"].isna().all()


def test_hidden_labels_spare_the_test_rows():
    table = read_molecules(chains().drop(columns=["name", "logP"]))
    split = lambda thin: fusionbook.split_molecules(thin, by="random", fractions=(0.6, 0.2, 0.2), seed=1)  # noqa: E731
    thin, parts = app.hide_labels(table, 0.5, seed=0, split=split)
    assert thin.mask[parts.test].all()
    hidden = ~thin.mask[:, 0]
    assert 0 < hidden.sum() <= 30
    assert_array(thin.Y[~hidden], table.Y[~hidden])
    assert table.mask.all()


def test_shares_are_spread_evenly_and_dealt_by_seed():
    shares = app.spread_shares(3, (0.04, 0.64), seed=0)
    assert sorted(shares) == pytest.approx([0.04, 0.16, 0.64])
    assert app.spread_shares(3, (0.04, 0.64), seed=0) == shares
    assert app.spread_shares(1, (0.04, 0.64), seed=0) == [0.64]


# ---------------------------------------------------------------- lab


def test_lab_starts_jupyter_on_a_folder(run, monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(app.util, "find_spec", lambda name: object())
    monkeypatch.setattr(app.subprocess, "call", lambda command: started.append(command) or 0)
    assert run("lab", tmp_path, "--no-browser", "--port", "8890")[0] == 0
    assert started == [[sys.executable, "-m", "jupyterlab", str(tmp_path), "--no-browser", "--port=8890"]]
    assert run("lab", tmp_path / "nowhere")[0] == 2
    (tmp_path / "nbs" / "tutorials").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert run("lab")[0] == 0
    assert started[-1][-1] == str(tmp_path / "nbs" / "tutorials")
    start = tmp_path / "nbs" / "tutorials" / "start.ipynb"
    start.write_text("{}")
    assert run("lab")[0] == 0
    assert started[-1][-1] == str(start)


def test_lab_without_jupyterlab_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr(app.util, "find_spec", lambda name: None)
    code, _, err = run("lab")
    assert code == 2
    assert 'pip install "fusionbook[lab]"' in err


# ---------------------------------------------------------------- app


@pytest.fixture
def served(monkeypatch):
    """What would be started: the command, and the request that its environment carries."""
    started = []
    found = app.util.find_spec
    monkeypatch.setattr(app.util, "find_spec", lambda name: object() if name == "voila" else found(name))
    monkeypatch.setattr(app, "_check_port", lambda port: None)
    monkeypatch.setattr(app, "_serve", lambda *given: started.append(given) or 0)
    return started


def test_app_starts_voila_on_this_computer_with_a_token(run, served, files):
    code, out, _ = run("app", files / "data.csv", files / "model", "--no-browser", "--port", "8890")
    assert code == 0
    command, environment, url, port = served[0]
    assert command[:3] == [sys.executable, "-m", "voila"] and port == 8890 and url is None
    assert Path(command[3]) == Path(fusionbook.__file__).parent / "static" / "app.ipynb"
    assert {
        "--Voila.ip=127.0.0.1",
        "--port=8890",
        "--Voila.port_retries=0",
        "--Voila.auto_token=True",
    } <= set(command)
    token = environment["JUPYTER_TOKEN"]
    assert len(token) >= 32 and f"http://127.0.0.1:8890/?token={token}" in out
    assert not any(token in part for part in command)
    assert "60 molecules" in out and "model" in out
    run("app", files / "data.csv")
    assert served[1][1]["JUPYTER_TOKEN"] != token and served[1][2].endswith(served[1][1]["JUPYTER_TOKEN"])


def test_app_gives_every_molecule_its_part_back(files):
    request = dict(data=str(files / "data.csv"), models=[str(files / "model")], smiles="smiles", tasks=None)
    study = app.open_study(dict(request, split=None))
    written = pd.read_csv(files / "model" / "split.csv")
    assert study.split.to_column(study.n).tolist() == written["split"].tolist()
    assert list(study.models) == ["model"] and study.table.task_names == ["mass", "logP"]
    with pytest.raises(InputError, match="seen .* test molecules"):
        frame = chains()
        frame["part"] = np.repeat(["test", "train", "valid"], 20)
        frame.to_csv(files / "other.csv", index=False)
        app.open_study(dict(request, data=str(files / "other.csv"), split="part"))


def test_parts_are_found_by_molecule_whatever_its_spelling(tmp_path):
    pd.DataFrame(
        {"smiles": ["CCO", "CC", "c1ccccc1", "CN"], "split": ["train", "train", "valid", "test"]}
    ).to_csv(tmp_path / "split.csv", index=False)
    table = read_molecules(
        pd.DataFrame({"smiles": ["OCC", "C1=CC=CC=C1", "NC", "CCC"], "a": [1.0, 2.0, 3.0, 4.0]})
    )
    assert app.kept_split(table, [tmp_path]).to_column(4).tolist() == ["train", "valid", "test", ""]
    pd.DataFrame({"smiles": ["CCO"]}).to_csv(tmp_path / "split.csv", index=False)
    with pytest.raises(InputError, match="must have the columns"):
        app.kept_split(table, [tmp_path])


@pytest.mark.parametrize("content", [b"", b"\xff\xfes\x00", b'smiles,split\n"CC'])
def test_a_damaged_split_is_told(tmp_path, content):
    (tmp_path / "split.csv").write_bytes(content)
    with pytest.raises(InputError, match="split.csv"):
        app.kept_split(read_molecules(chains().drop(columns="name")), [tmp_path])


def test_a_sample_keeps_the_rejected_rows_on_record():
    frame = pd.DataFrame({"smiles": ["CCO", "C1CC", "CC", "CCC"], "a": [1.0, 2.0, 3.0, 4.0]})
    with pytest.warns(RowsWarning):
        table = read_molecules(frame)
    drawn = app._sample(table, 2, seed=0)
    assert drawn.n == 2 and drawn.report()["row"].tolist() == [1]


def test_app_file_names_are_never_code(run, served, files, tmp_path, monkeypatch):
    name = 'x\'); open("hacked", "w") #; $(touch hacked)\n".csv'
    shutil.copy(files / "data.csv", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert run("app", name, "--no-browser")[0] == 0
    command, environment, _, _ = served[0]
    assert not any("hacked" in part for part in command)
    monkeypatch.setenv(app.APP_REQUEST, environment[app.APP_REQUEST])
    monkeypatch.chdir(files)
    board = app.open_dashboard()
    assert board.study.n == 60 and Path.cwd() == tmp_path
    assert not (tmp_path / "hacked").exists()
    page = json.loads((Path(fusionbook.__file__).parent / "static" / "app.ipynb").read_text())
    assert "".join(page["cells"][0]["source"]).splitlines()[-1] == "open_dashboard()"


def test_app_says_what_is_wrong(run, served, files, tmp_path, monkeypatch):
    for arguments, words in (
        ([files / "data.csv", tmp_path], "is not a model folder"),
        ([tmp_path / "no.csv"], "no.csv"),
        ([files / "new.csv", files / "model"], "column"),
        ([files / "data.csv", files / "model", "--split-column", "part"], "part"),
    ):
        code, _, err = run("app", *arguments)
        assert code == 2 and words in err and "Traceback" not in err
    assert served == []
    monkeypatch.setattr(app.util, "find_spec", lambda name: None)
    code, _, err = run("app", files / "data.csv")
    assert code == 2 and 'pip install "fusionbook[app]"' in err


def test_app_does_not_share_a_port():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} cannot be used .*--port {port + 1}"):
            app._check_port(port)
    app._check_port(port)


def test_app_answers_only_with_the_token(files, tmp_path):
    """The real server: without the token a login page, with it the dashboard's page."""
    pytest.importorskip("voila", reason="needs the extra [app]")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [sys.executable, "-c", "import sys; from fusionbook.app import main; sys.exit(main())"]
    arguments += ["app", files / "data.csv", files / "model"]
    arguments += ["--no-browser", "--port", port]
    server = subprocess.Popen(
        [str(one) for one in arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = next(line.strip() for line in server.stdout if line.startswith("http"))
        page = f"http://127.0.0.1:{port}/"
        closed = _fetch(page)
        assert closed.geturl().startswith(f"{page}login") and b"application/vnd.jupyter" not in closed.read()
        assert _fetch(page + "api/kernels").geturl().startswith(f"{page}login")
        assert _fetch(urllib.request.Request(page + "api/kernels", method="POST")).code == 403
        assert _fetch(f"{page}?token=wrong").geturl().startswith(f"{page}login")
        opened = _fetch(url)
        assert opened.code == 200 and opened.geturl() == url
        assert b"application/vnd.jupyter.widget-view+json" in opened.read()
    finally:
        server.terminate()
        server.wait(30)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(page, timeout=5)
    assert list(tmp_path.iterdir()) == []


def _fetch(url, seconds=90):
    """Ask for a page until the server answers; an error status is an answer."""
    end = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=seconds)
        except urllib.error.HTTPError as answer:
            return answer
        except urllib.error.URLError:
            assert time.monotonic() < end, "no answer"
            time.sleep(0.3)


# ---------------------------------------------------------------- mistakes of the user


def bad_table(**columns):
    frame = chains()
    return frame.assign(**columns) if columns else frame


BAD_TABLES = {
    "misspelled column": (
        lambda: chains().rename(columns={"smiles": "SMILE"}),
        [],
        ["There is no column 'smiles'. Did you mean 'SMILE'?", "--smiles-column"],
    ),
    "misspelled task": (chains, ["--tasks", "logp"], ["Did you mean 'logP'?"]),
    "text as a task": (lambda: bad_table(kind="alcohol"), ["--tasks", "kind"], ["holds no number"]),
    "no numbers": (lambda: chains()[["smiles"]], [], ["has no task", "--tasks"]),
    "one value": (lambda: bad_table(flat=1.0), [], ["'flat' has one value only (1, 60 labels)"]),
    "one molecule": (
        lambda: chains().iloc[:1],
        ["--tasks", "mass"],
        ["at least 3 different molecules; the table has 1"],
    ),
    "the same molecule": (lambda: bad_table(smiles="CCO"), ["--tasks", "mass"], ["the table has 1"]),
    "too few labels": (
        lambda: bad_table(rare=[1.0, 2.0, 3.0] + [np.nan] * 57),
        [],
        ["task 'rare' has", "training labels, needs 5"],
    ),
    "no readable row": (lambda: bad_table(smiles="?"), [], ["No row has a usable molecule"]),
    "no rows": (lambda: chains().iloc[:0], [], ["no rows"]),
    "fractions": (chains, ["--fractions", "0.5", "0.1", "0.1"], ["--fractions must sum to 1"]),
    "no validation": (chains, ["--fractions", "0.9", "0", "0.1"], ["no validation rows"]),
    "split column": (chains, ["--split-column", "part"], ["There is no split column 'part'"]),
    "split words": (
        lambda: bad_table(part="x"),
        ["--split-column", "part"],
        ["must say train, valid or test"],
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables_end_with_code_2_and_a_remedy(case, tmp_path, run):
    make, options, messages = BAD_TABLES[case]
    make().to_csv(tmp_path / "data.csv", index=False)
    code, _, err = run("train", tmp_path / "data.csv", "--out", tmp_path / "model", *FAST, *options)
    assert code == 2
    assert "fusionbook: error: " in err
    for message in messages:
        assert message in err
    assert "`tasks" not in err and "`smiles" not in err
    assert not (tmp_path / "model").exists()


def test_duplicate_columns_are_refused(tmp_path, run):
    (tmp_path / "data.csv").write_text("smiles,a,a\nC,1,2\nCC,2,3\n")
    code, _, err = run("train", tmp_path / "data.csv", "--out", tmp_path / "model")
    assert code == 2 and "'a'" in err


def test_odd_rows_are_noted_and_training_goes_on(tmp_path, run):
    frame = chains().drop(columns="name").astype({"logP": object})
    frame.loc[0, "smiles"] = "C(C"
    frame.loc[1, "smiles"] = np.nan
    frame.loc[2, "smiles"] = "[Na+].[Cl-]"
    frame.loc[3, "smiles"] = "C" * 500
    frame.loc[4, "smiles"] = "[Xe]"
    frame.loc[5, "logP"] = "high"
    frame.loc[6, "logP"] = np.inf
    frame.to_csv(tmp_path / "data.csv", index=False)
    out = tmp_path / "report.html"
    code, _, err = run(
        "compare", tmp_path / "data.csv", "--out", out, *FAST, *PARTS, "--models", "mean", "MT"
    )
    assert code == 0, err
    assert "note: 2 rows could not be used" in err
    assert "rows to look at" in err
    page = out.read_text(encoding="utf-8")
    for text in (
        "not valid SMILES syntax",
        "the SMILES cell is empty",
        "salt or mixture",
        "not a finite number",
    ):
        assert text in page


def test_every_odd_row_is_in_the_file_that_is_named(tmp_path, run):
    frame = chains().drop(columns="name").astype({"logP": object})
    frame.loc[:4, "smiles"] = "C(C"
    frame.loc[5:14, "logP"] = "high"
    frame.to_csv(tmp_path / "data.csv", index=False)
    out = tmp_path / "model"
    arguments = ["train", tmp_path / "data.csv", "--tasks", "mass", "logP", "--model", "multi", "--out", out]
    code, _, err = run(*arguments, *FAST, *PARTS)
    assert code == 0
    assert f"and 2 more; all of them in {out / 'rejected.csv'}" in err
    assert f"and 7 more; all of them in {out / 'remarks.csv'}" in err
    assert pd.read_csv(out / "rejected.csv")["row"].tolist() == [0, 1, 2, 3, 4]
    remarks = pd.read_csv(out / "remarks.csv")
    assert remarks["row"].tolist() == list(range(5, 15)) and remarks["text"].str.contains("'high'").all()


def test_odd_rows_beyond_those_in_the_report_are_counted(capsys, tmp_path):
    frame = pd.DataFrame({"smiles": ["CCO", "CC", *["?"] * 250], "a": 1.0})
    with pytest.warns(RowsWarning):
        table = read_molecules(frame)
    for folder, words in (
        (None, "the first 200 of them in the report"),
        (tmp_path, f"all of them in {tmp_path / 'rejected.csv'}"),
    ):
        app._tell_rows(table, folder)
        assert f"and 247 more; {words}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["train", "nowhere.csv", "--out", "x"], ["There is no file 'nowhere.csv'"]),
        (["train", "data.txt", "--out", "x"], ["should end in .csv"]),
        (["train", "data.csv", "--out", "full"], ["holds other files and no model"]),
        (["train", "data.csv", "--out", "data.csv"], ["is a file; --out must name a folder"]),
        (["train", "data.csv", "--out", "data.csv/model"], ["'data.csv' is a file, not a folder"]),
        (["predict", "nowhere", "data.csv", "--out", "p.csv"], ["is not a model folder"]),
        (["predict", "full", "data.csv", "--out", "p.csv"], ["is not a model folder"]),
        (["predict", "full", "data.csv", "--out", "data.csv"], ["is the input file, which would be lost"]),
        (["predict", "full", "data.csv", "--out", "p.xlsx"], ["should end in .csv"]),
        (["embed", "full", "data.csv", "--out", "z.pkl"], ["should end in .parquet"]),
        (["embed", "full", "data.csv", "--out", "full"], ["should end in .parquet"]),
        (["compare", "data.csv", "--out", "report.pdf"], ["should end in .html"]),
        (["compare", "data.csv", "--out", "r.html", "--fractions", ".8", ".2", "0"], ["no test rows"]),
        (["compare", "data.csv", "--out", "r.html", "--label-fraction", "2"], ["--label-fraction"]),
        (["compare", "x_errors.csv", "--out", "x.html"], ["is the input file, which would be lost"]),
        (["compare", "data.csv", "--out", "r.html", "--models", "ST", "--save-model", "x"], ["add F-MT"]),
        (["compare", "data.csv", "--out", "r.html", "--save-model", "data.csv"], ["--save-model must name"]),
    ],
)
def test_other_mistakes_end_with_code_2(arguments, messages, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data.csv", "x_errors.csv"):
        chains().drop(columns="name").to_csv(name, index=False)
    before = (tmp_path / "data.csv").read_bytes()
    (tmp_path / "data.txt").write_text("smiles\nC\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("not to be lost")
    code, _, err = run(*arguments)
    assert code == 2
    assert err.startswith("fusionbook: error: ")
    for message in messages:
        assert message in err
    assert (tmp_path / "data.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "data.csv",
        "data.txt",
        "full",
        "x_errors.csv",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["train"],
        ["train", "data.csv"],
        ["train", "data.csv", "--out", "x", "--model", "triple"],
        ["train", "data.csv", "--out", "x", "--epochs", "0"],
        ["train", "data.csv", "--out", "x", "--epochs", "many"],
        ["train", "data.csv", "--out", "x", "--seed", "-1"],
        ["train", "data.csv", "--out", "x", "--jobs", "0"],
        ["train", "data.csv", "--out", "x", "--fractions", "0.5", "0.5"],
        ["compare", "data.csv", "--out", "x.html", "--models", "GP"],
    ],
)
def test_wrong_options_end_with_code_2(arguments, run):
    code, _, err = run(*arguments)
    assert code == 2
    assert "error:" in err


def test_a_prediction_file_without_smiles(files, run):
    pd.DataFrame({"Smiles_code": ["CCO"], "x": [1]}).to_csv(files / "no.csv", index=False)
    code, _, err = run("predict", files / "model", files / "no.csv", "--out", files / "p.csv")
    assert code == 2
    assert "There is no column 'smiles'. Did you mean 'Smiles_code'?" in err
    assert "--smiles-column" in err


def test_a_property_called_like_a_spread_keeps_its_name_and_unit(tmp_path, run):
    frame = chains().rename(columns={"logP": "mass spread (m)"}).drop(columns="name")
    frame.to_csv(tmp_path / "data.csv", index=False)
    assert (
        run("train", tmp_path / "data.csv", "--model", "multi", "--out", tmp_path / "m", *FAST, *PARTS)[0]
        == 0
    )
    assert run("predict", tmp_path / "m", tmp_path / "data.csv", "--out", tmp_path / "p.csv")[0] == 0
    made = pd.read_csv(tmp_path / "p.csv").columns[-3:].tolist()
    assert made == ["mass (g/mol) predicted", "mass spread (m) predicted", "problem"]


def test_spread_needs_an_ensemble(files, run):
    arguments = ["train", files / "data.csv", *ONE_NETWORK, "--out", files / "single"]
    assert run(*arguments, *FAST, *PARTS)[0] == 0
    code, _, err = run("predict", files / "single", files / "new.csv", "--spread", "--out", files / "p.csv")
    assert code == 2
    assert "--spread needs an ensemble: train with --ensemble 2 or more" in err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "weights.safetensors").unlink(), "incomplete"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"x" * 99), "damaged"),
        (lambda folder: (folder / "config.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "config.json").write_text("[]"), "does not describe a fusionbook model"),
        (lambda folder: (folder / "config.json").unlink(), "is not a model folder"),
    ],
)
def test_a_damaged_model_folder(files, run, tmp_path, damage, message):
    shutil.copytree(files / "model", tmp_path / "model")
    damage(tmp_path / "model")
    code, _, err = run("predict", tmp_path / "model", files / "new.csv", "--out", tmp_path / "p.csv")
    assert code == 2
    assert message in err


def test_a_model_of_a_newer_format(files, run, tmp_path):
    shutil.copytree(files / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["format_version"] += 1
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    code, _, err = run("embed", tmp_path / "model", files / "new.csv", "--out", tmp_path / "z.npz")
    assert code == 2
    assert "Upgrade with `pip install -U fusionbook`" in err


def test_ctrl_c_ends_with_130(run, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "read_molecules", stop)
    code, _, err = run("train", "data.csv", "--out", "x")
    assert (code, err) == (130, "fusionbook: stopped\n")


def test_our_own_mistakes_show_their_traceback_and_end_with_1(capsys, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(app, "read_molecules", broken)
    assert app.main(["train", "data.csv", "--out", "x"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and "ZeroDivisionError: ours" in err and "please report" in err


# ---------------------------------------------------------------- what is said


def compared(errors, n_test=40):
    rows = []
    for task, values in errors.items():
        for model, value in values.items():
            labels = {"n_train": 50, "n_valid": 9, "n_test": n_test}
            rows.append({"task": task, "unit": "", "model": model, "MAE": value, "MAE / sd": value} | labels)
    return pd.DataFrame(rows)


def test_the_verdict_names_the_winner_and_the_controls():
    frame = compared(
        {
            "a": {"mean": 0.8, "untrained": 0.1, "ST": 0.4, "MT": 0.3, "F-MT": 0.2},
            "b": {"mean": 0.8, "untrained": 0.7, "ST": 0.3, "MT": 0.6, "F-MT": 0.45},
        }
    )
    text = " ".join(app.verdict(frame))
    assert "Lowest mean error: F-MT, 0.325" in text
    assert "untrained for a; ST for b" in text
    assert "The control 'untrained' beats every trained model for a:" in text
    assert "'mean' beats" not in text
    assert "than ST on 1 of 2 and than MT on 2 of 2 properties" in text
    assert "Fewer than 30" not in text


def test_the_verdict_does_not_praise_where_nothing_was_learned():
    frame = compared({"a": {"mean": 0.5, "ST": 0.6, "F-MT": 0.7}}, n_test=8)
    text = " ".join(app.verdict(frame))
    assert "Lowest error: mean, 0.500" in text
    assert "no sign that anything was learned" in text
    assert "Fewer than 30 test labels, so rough errors: a." in text


def test_the_paired_difference_equals_a_loop_over_draws():
    rng = np.random.default_rng(1)
    Y = rng.normal(size=(30, 3))
    Y[rng.uniform(size=Y.shape) < 0.3] = np.nan
    one, other = rng.normal(size=(2, 30, 3))
    scale = np.array([1.0, 2.0, 0.5])
    difference, low, high = app.paired_difference(Y, one, other, scale, draws=200, seed=5)
    expected = np.mean(
        [np.nanmean(np.abs(one - Y)[:, j] - np.abs(other - Y)[:, j]) / scale[j] for j in range(3)]
    )
    assert difference == pytest.approx(expected, rel=1e-12)
    draws = np.random.default_rng(5).multinomial(30, np.full(30, 1 / 30), size=200)
    means = []
    for counts in draws:
        rows = np.repeat(np.arange(30), counts)
        gain = (np.abs(one - Y) - np.abs(other - Y))[rows] / scale
        means.append(np.mean([np.nanmean(gain[:, j]) for j in range(3)]))
    assert_array([low, high], np.percentile(means, [2.5, 97.5]), rtol=1e-9)


@pytest.mark.parametrize(("n_test", "told"), [(1, False), (9, False), (10, True)])
def test_few_test_molecules_prove_no_lead(n_test, told):
    """The interval of one molecule has no width, whatever it is; ten say something."""
    table = read_molecules(chains(40).drop(columns=["name", "logP"]))
    split = fusionbook.molecules.Split(np.arange(20), [], np.arange(20, 20 + n_test))
    frame = compared({"mass": {"ST": 0.1, "MT": 0.2}}, n_test=n_test)
    Y = table.Y[split.test]
    predictions = {"ST": Y + 1, "MT": Y + 2}
    line = app.findings(app.Study(table, split, {}, {}, frame, predictions, {}))[1]
    assert line.startswith("ST leads MT by ")
    assert ("95 % interval" in line) == told and ("too few test molecules to tell" in line) != told


def test_unfinished_trainings_are_told_of_every_network_even_those_inside_the_fused_model():
    table = read_molecules(chains().drop(columns="name"))
    split = fusionbook.split_molecules(table, fractions=(0.6, 0.2, 0.2))
    changes = dict(d_h=16, head_width=16, min_steps=40, epochs=1)
    study = app.run_comparison(table, split, changes, models=["mean", "F-MT"], n_models=2, n_jobs=1)
    assert list(study.models) == ["mean", "F-MT"] and list(study.histories()) == ["ST", "MT"]
    assert list(app._training_settings(study)) == ["training, ST", "training, MT"]
    steps = np.arange(1, 11)
    still, done = (
        fusionbook.training.History(steps, steps, loss[:, None], steps[-1:], 10)
        for loss in (1 / steps, steps)
    )
    single = study.trained["ST"]
    for member, history in zip(single.networks_, (done, still)):
        member[:] = [replace(one, history=history) for one in member]
    assert (
        "ST was still improving when its training ended, for 2 properties: mass, logP."
        in app.unfinished_lines(study)[0]
    )


def test_small_errors_are_printed_with_four_digits(capsys):
    frame = compared({"a": {"mean": 2e-5, "ST": 1.23456e-5}, "b": {"mean": np.nan, "ST": np.nan}})
    app.print_errors(frame)
    printed = capsys.readouterr().out
    assert "1.235e-05" in printed and "nan" not in printed


def test_a_reader_that_has_gone_costs_no_training(files, tmp_path):
    """As in `fusionbook train ... | head -1`, where the pipe is closed before the training ends."""
    read, write = os.pipe()
    os.close(read)
    arguments = ["train", files / "data.csv", *ONE_NETWORK, "--out", tmp_path / "model"]
    command = [sys.executable, "-c", "import sys; from fusionbook.app import main; sys.exit(main())"]
    done = subprocess.run(
        [*command, *map(str, [*arguments, *FAST, *PARTS])], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "model" / "test_errors.csv").exists()


def test_properties_may_be_called_as_columns_of_a_history_are(tmp_path, run):
    frame = (
        chains().rename(columns={"mass (g/mol)": "step (g/mol)", "logP": "train loss"}).drop(columns="name")
    )
    frame.to_csv(tmp_path / "data.csv", index=False)
    arguments = ["compare", tmp_path / "data.csv", "--out", tmp_path / "r.html", "--models", "mean", "MT"]
    assert run(*arguments, *FAST, *PARTS)[0] == 0
    assert "step (property)" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_error_table_has_original_units_and_a_mean_only_where_it_means_something():
    frame = compared({"a": {"ST": 0.4, "MT": 0.2}, "b": {"ST": 0.2, "MT": 0.8}})
    assert app.error_table(frame).loc["mean of all", ["ST", "MT"]].tolist() == pytest.approx([0.3, 0.5])
    assert "mean of all" not in app.error_table(frame, "MAE").index
    assert app.error_table(frame).index[:2].tolist() == ["a", "b"]


# ---------------------------------------------------------------- the report


def test_the_mixture_in_words_adds_up():
    shares = {"learned": 0.2, "both": 0.3, "untrained, all labels": 0.05, "both, all labels": 0.15}
    parts = app._mixture_parts(pd.Series(shares | {"head of gap": 0.1, "head of all tasks": 0.2}))
    assert parts["kernels fitted to the labels of all properties"] == pytest.approx(0.2)
    assert parts["the single-task networks' own heads"] == pytest.approx(0.1)
    assert sum(parts.values()) == pytest.approx(1)


class Page(html.parser.HTMLParser):
    """Collect elements, attributes and data blocks of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.blocks, self.inside = [], [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "script" and dict(attrs).get("type") == "application/json":
            self.inside = dict(attrs)["id"]
            self.blocks[self.inside] = ""

    def handle_endtag(self, tag):
        self.inside = None if tag == "script" else self.inside

    def handle_data(self, data):
        if self.inside:
            self.blocks[self.inside] += data


@pytest.fixture(scope="module")
def evil_report(tmp_path_factory):
    """A report about a table whose names try to be markup."""
    here = tmp_path_factory.mktemp("evil")
    frame = chains().rename(columns={"logP": f"{EVIL} (</script>)", "mass (g/mol)": "</script><b>&amp;"})
    frame.loc[0, "smiles"] = EVIL
    frame.to_csv(here / f"{EVIL.replace('/', '')}.csv", index=False)
    data = next(here.glob("*.csv"))
    arguments = ["compare", data, "--out", here / "report.html", *FAST, *PARTS]
    assert app.main([str(one) for one in arguments]) == 0
    return (here / "report.html").read_text(encoding="utf-8")


def test_names_from_the_table_stay_text(evil_report):
    assert "<img" not in evil_report
    assert "&lt;img src=x onerror=alert(1)&gt;" in evil_report
    page = Page(evil_report)
    assert "img" not in page.tags and "b" not in page.tags
    assert page.tags.count("script") == 2 + len(page.blocks)
    assert not any(name.startswith("on") for name, _ in page.attributes)
    molecules = json.loads(page.blocks["molecules"])
    assert len(molecules["smiles"]) == len(molecules["svg"]) == 59


def test_the_report_needs_no_network(evil_report):
    page = Page(evil_report)
    links = [value for name, value in page.attributes if name in ("src", "href")]
    assert links and all(link.startswith("#") for link in links)
    policies = [value for name, value in page.attributes if name == "content" and "default-src" in value]
    assert policies and policies[0].startswith("default-src 'none'") and "http" not in policies[0]
    for name, block in page.blocks.items():
        if name != "molecules":
            assert json.loads(block)["config"]["showSendToCloud"] is False


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="no chromium on this machine")
def test_a_browser_draws_the_report(evil_report, tmp_path):
    (tmp_path / "report.html").write_text(evil_report, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [
        CHROMIUM,
        *options,
        "--virtual-time-budget=20000",
        "--dump-dom",
        f"file://{tmp_path / 'report.html'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    page = Page(done.stdout)
    figures = len([name for name in page.blocks if name != "molecules"])
    assert ("data-drawn", "yes") in page.attributes
    assert sum(name == "class" and "js-plotly-plot" in value for name, value in page.attributes) == figures
    assert "img" not in page.tags
    assert "&lt;img src=x onerror=alert(1)&gt;" in done.stdout
    buttons = {value for name, value in page.attributes if name == "data-title"}
    assert "Zoom" in buttons and not any("Share" in title for title in buttons)


def test_figures_of_the_report_carry_the_numbers_of_the_study(files):
    table = read_molecules(chains().drop(columns="name"))
    split = fusionbook.split_molecules(table, by="random", fractions=(0.6, 0.2, 0.2), seed=0)
    changes = dict(d_h=16, head_width=16, min_steps=40, epochs=1)
    study = app.run_comparison(table, split, changes, n_jobs=1)
    page = Page(app.write_report(files / "study.html", study).read_text(encoding="utf-8"))
    wanted = {
        "data-errors",
        "data-coverage",
        "data-correlation",
        "data-curves",
        "data-parity",
        "data-map",
        "molecules",
    }
    assert wanted <= set(page.blocks)
    curves = json.loads(page.blocks["data-curves"])["figure"]
    history = study.models["MT"].networks_[0][0].history
    line = next(one for one in curves["data"] if one["name"] == "MT" and one["mode"] == "lines")
    assert_array(decoded(line["y"]), history.valid_loss[:, 0])
    parity = json.loads(page.blocks["data-parity"])["figure"]
    points = next(one for one in parity["data"] if one.get("name") == "F-MT")
    known = table.mask[split.test, 0]
    Y_hat = study.models["F-MT"].predict(table.select(split.test))["mass"].to_numpy()
    assert_array(decoded(points["y"]), Y_hat[known])
    assert_array(decoded(points["x"]), table.Y[split.test, 0][known])
    smiles = json.loads(page.blocks["molecules"])["smiles"]
    drawn = [smiles[i] for i in decoded(points["customdata"]).astype(int)]
    assert drawn == [table.smiles[i] for i in split.test[known]]
    cells = re.findall(r"<strong>([\d.]+)</strong>", (files / "study.html").read_text(encoding="utf-8"))
    assert f"{study.frame.groupby('task')['MAE / sd'].min().iloc[0]:.3f}" in cells


def decoded(array):
    """Read a list, or plotly's base64 form of one."""
    if isinstance(array, list):
        return np.array(array, dtype=float)
    return np.frombuffer(base64.b64decode(array["bdata"]), dtype=np.dtype(array["dtype"])).astype(float)


def test_script_json_reads_back_and_closes_nothing():
    text = {"</script>": "a & b <!-- ]]> \u2028"}
    written = app.script_json(json.dumps(text, ensure_ascii=False))
    assert not set("<>&\u2028") & set(written)
    assert json.loads(written) == text


def test_tables_mark_the_lowest_number_and_missing_ones():
    frame = pd.DataFrame({"labels": [5, 6], "ST": [0.2, np.nan], "MT": [0.1, 0.3]}, index=["a", EVIL])
    page = app.html_table(frame, {"ST": ".2f", "MT": ".2f"}, best=["ST", "MT"])
    assert page.count("<strong>") == 2
    assert "<strong>0.10</strong>" in page and "<strong>0.30</strong>" in page
    assert ">-</td>" in page and "&lt;img" in page


def test_molecules_to_draw_are_half_test_half_others():
    split = fusionbook.molecules.Split(np.arange(100), np.arange(100, 120), np.arange(120, 200))
    rows = app.choose_molecules(split, 200, size=60)
    assert len(set(rows.tolist())) == 60
    assert (rows >= 120).sum() == 30
    assert_array(app.choose_molecules(split, 200, size=500), np.arange(200))
    few_others = fusionbook.molecules.Split(np.arange(5), np.arange(5, 10), np.arange(10, 200))
    assert len(app.choose_molecules(few_others, 200, size=60)) == 60
    no_test = fusionbook.molecules.Split(np.arange(5), [], [])
    assert_array(app.choose_molecules(no_test, 5), np.arange(5))


def test_pictures_are_svg_and_stop_at_a_total_size(monkeypatch):
    svg = app.molecule_svg("c1ccccc1O")
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]
    assert sorted(texts) == ["H", "O"]
    assert app.molecule_svg("C" * 500) == ""
    study = app.Study(read_molecules(chains()), None, {}, {}, None, {}, {})
    monkeypatch.setattr(app, "PICTURE_BYTES", 1)
    block = json.loads(Page(app._pictures(study, np.array([0, 1, 2]), 3)).blocks["molecules"])
    assert [bool(one) for one in block["svg"]] == [True, False, False]
    monkeypatch.undo()
    block = json.loads(Page(app._pictures(study, np.array([0, 1, 2]), 2)).blocks["molecules"])
    assert [bool(one) for one in block["svg"]] == [True, True, False]
    assert block["smiles"] == ["COC", "CNC", "CSC"]


def test_an_unknown_model_is_refused():
    table = read_molecules(chains())
    with pytest.raises(InputError, match="models"):
        app.run_comparison(table, fusionbook.split_molecules(table), models=["GP"])


def test_a_property_without_test_labels_costs_no_study(tmp_path, run):
    """Errors, model and report are written, and nothing is said about what cannot be known."""
    frame = chains().assign(rare=np.nan, part="train")
    frame.loc[frame.index % 5 == 3, "part"] = "valid"
    frame.loc[frame.index % 5 == 4, "part"] = "test"
    known = frame.index[frame["part"] != "test"]
    frame.loc[known, "rare"] = np.sin(known.to_numpy())
    frame.to_csv(tmp_path / "rare.csv", index=False)
    arguments = [
        "compare",
        tmp_path / "rare.csv",
        "--split-column",
        "part",
        "--models",
        "mean",
        "ST",
        "MT",
        "F-MT",
        *FAST,
    ]
    for tasks in (["logP", "rare"], ["rare"]):
        code, printed, _ = run(
            *arguments, "--tasks", *tasks, "--out", tmp_path / "r.html", "--save-model", tmp_path / "m"
        )
        assert code == 0 and (tmp_path / "r.html").exists() and (tmp_path / "m" / "config.json").exists()
        errors = pd.read_csv(tmp_path / "r_errors.csv").set_index("task")
        assert errors.loc["rare", "MAE"].isna().all() and (errors.loc["rare", "n_test"] == 0).all()
        assert "nan" not in printed
    assert "No property has a test label" in printed


def test_a_kept_fused_model_has_its_own_errors_beside_it(files, tmp_path, run):
    out = tmp_path / "model"
    common = [files / "data.csv", "--tasks", "logP", *FAST, *PARTS]
    assert run("train", *common, "--model", "single", "--out", out)[0] == 0
    report = ["--models", "mean", "ST", "F-MT", "--out", tmp_path / "r.html"]
    assert run("compare", *common, *report, "--save-model", out)[0] == 0
    kept, all_of_them = (pd.read_csv(file) for file in (out / "test_errors.csv", tmp_path / "r_errors.csv"))
    assert kept["model"].tolist() == ["mean", "F-MT"]
    wanted = all_of_them[all_of_them["model"] != "ST"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, wanted)


def test_a_new_model_does_not_keep_the_errors_of_the_old_one(files, tmp_path, run):
    out = tmp_path / "model"
    common = ["train", files / "data.csv", "--tasks", "logP", "--out", out, *FAST]
    assert run(*common, "--model", "single")[0] == 0 and (out / "test_errors.csv").exists()
    (out / "remarks.csv").write_text("of the model before")
    code, printed, _ = run(*common, "--model", "multi", "--fractions", "0.8", "0.2", "0")
    assert code == 0 and "is replaced" in printed
    assert not (out / "test_errors.csv").exists() and not (out / "remarks.csv").exists()


@pytest.mark.parametrize("port", ["0", "99999999"])
def test_a_port_is_within_range(files, run, port):
    code, _, told = run("app", files / "data.csv", "--port", port)
    assert code == 2 and "port" in told


def test_remedies_name_options_not_parameters(tmp_path, run):
    """A column that numbers the rows, and a property with one label."""
    smiles = ["C" * i for i in range(1, 7)]
    frame = pd.DataFrame(
        {"id": [6, 1, 2, 5, 4, 3], "smiles": smiles, "logP": 1.5, "bp (K)": [1.0, 3, 2, 5, 8, 7]}
    )
    frame.to_csv(tmp_path / "few.csv", index=False)
    code, _, told = run("train", tmp_path / "few.csv", "--out", tmp_path / "m")
    assert code == 2
    assert (
        "If it is no property, name in --tasks those that are: 'logP', 'bp (K)'; if it is one, name all."
        in told
    )
    assert (
        "task 'logP' has one value only (1.5, 6 labels). Leave them out: name the others in --tasks." in told
    )


def test_a_column_that_is_left_out_is_told(tmp_path, run):
    frame = chains()
    frame["logS"] = [f"{value:.2f}".replace(".", ",") for value in np.sin(range(len(frame)))]
    frame.to_csv(tmp_path / "comma.csv", index=False)
    arguments = ["train", tmp_path / "comma.csv", "--out", tmp_path / "m", *FAST, *PARTS]
    code, _, told = run(*arguments)
    assert code == 0 and "column 'logS' is not read as a task" in told and "decimal point" in told
