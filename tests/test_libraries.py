"""Files larger than memory: streamed in chunks, killed and resumed, never a row lost, repeated or moved."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusionbook import embeddings
from fusionbook.core import InputError, RowsWarning
from fusionbook.embeddings import EmbeddingBlocks, stream_molecules
from fusionbook.molecules import load_frame, parse_smiles

BAD = (3, 17, 18, 19, 40)


def library(n=50):
    """n chains with names; some rows cannot be read."""
    smiles = ["C1CC" if i in BAD else "C" * (i % 11 + 1) + "O" for i in range(n)]
    return pd.DataFrame({"name": [f"m, {i}" for i in range(n)], "smiles": smiles, "mass": np.arange(n) / 4})


def atoms(texts):
    """A stand-in for a model: heavy atoms and their square; NaN where a molecule cannot be read."""
    counts = np.array(
        [np.nan if (mol := parse_smiles(text)[0]) is None else mol.GetNumAtoms() for text in texts]
    )
    return pd.DataFrame({"atoms": counts, "square": counts**2})


def written(path, kind, frame):
    source = path / f"library{kind}"
    if kind == ".parquet":
        frame.to_parquet(source, index=False)
    else:
        frame.to_csv(source, index=False)
    return source


@pytest.fixture
def source(tmp_path):
    return written(tmp_path, ".csv", library())


class Stop(Exception):
    pass


def stopping(after):
    """`atoms`, but it stops after some calls."""
    calls = []

    def compute(texts):
        if len(calls) == after:
            raise Stop
        calls.append(len(texts))
        return atoms(texts)

    return compute


@pytest.mark.parametrize("chunk_rows", [1, 7, 50, 1000])
@pytest.mark.parametrize("kind", [".csv", ".csv.gz", ".parquet"])
def test_every_row_keeps_its_place(tmp_path, kind, chunk_rows):
    frame = library()
    target = tmp_path / "out.parquet"
    report = stream_molecules(written(tmp_path, kind, frame), target, atoms, chunk_rows=chunk_rows)
    out = pd.read_parquet(target)
    assert list(out) == ["row", "name", "smiles", "mass", "atoms", "square"]
    assert out["row"].tolist() == list(range(50))
    assert out["smiles"].tolist() == frame["smiles"].tolist()
    assert out["mass"].astype(float).tolist() == frame["mass"].tolist()
    expected = [np.nan if i in BAD else i % 11 + 2 for i in range(50)]
    np.testing.assert_array_equal(out["atoms"], expected)
    np.testing.assert_array_equal(out["square"], np.square(expected))
    assert (report.rows, report.resumed, report.n_rejected) == (50, 0, len(BAD))
    assert report.rejected()["row"].tolist() == list(BAD)
    assert set(report.rejected()["reason"]) == {"not valid SMILES syntax"}
    assert not Path(f"{target}.parts").exists()


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_csv_targets_hold_the_same(source, tmp_path, ending):
    target = tmp_path / f"out{ending}"
    stream_molecules(source, target, atoms, chunk_rows=7)
    stream_molecules(source, tmp_path / "out.parquet", atoms, chunk_rows=50)
    one, other = pd.read_csv(target), pd.read_parquet(tmp_path / "out.parquet")
    other["mass"] = other["mass"].astype(float)
    pd.testing.assert_frame_equal(one, other, check_dtype=False)


def test_whole_numbers_with_gaps_are_copied_as_they_are(tmp_path):
    """12 must not become 12.0, nor a long registry number another one, in a chunk that holds a gap."""
    numbers = pa.array([12, 9007199254740997, None, 2**63 - 1, 7])
    source, target = tmp_path / "library.parquet", tmp_path / "out.csv"
    pq.write_table(
        pa.table({"smiles": ["C"] * 5, "id": numbers, "known": [True, None, False, True, True]}), source
    )
    for chunk_rows in (1, 2, 5):
        stream_molecules(source, target, atoms, chunk_rows=chunk_rows)
        out = pd.read_csv(target, dtype=str, keep_default_na=False)
        assert out["id"].tolist() == ["12", "9007199254740997", "", "9223372036854775807", "7"]
        assert out["known"].tolist() == ["True", "", "False", "True", "True"]


def test_chunks_are_read_as_a_whole_table_is(tmp_path):
    """Quotes, line breaks in cells, empty lines in the middle and at the end, names with blanks."""
    text = '\ufeffname , smiles,\n"a\nb",C,1\n\n"c,""d""",CC,\n,,\nNA,CCC,3\n\n\n,,\n'
    source = tmp_path / "odd.csv"
    source.write_text(text, encoding="utf-8")
    expected = load_frame(source, "smiles")
    for chunk_rows in (1, 2, 3, 100):
        target = tmp_path / f"{chunk_rows}.parquet"
        stream_molecules(source, target, atoms, chunk_rows=chunk_rows)
        out = pd.read_parquet(target)
        assert out[list(expected)].to_numpy().tolist() == expected.to_numpy().tolist()
        assert out["atoms"].fillna(0).tolist() == [1, 0, 2, 0, 3]


@pytest.mark.parametrize("after", [0, 1, 3, 7])
def test_a_stopped_run_goes_on_where_it_stopped(source, tmp_path, after):
    whole, target = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    stream_molecules(source, whole, atoms, chunk_rows=7)
    with pytest.raises(Stop):
        stream_molecules(source, target, stopping(after), chunk_rows=7)
    assert not target.exists()
    calls = []
    report = stream_molecules(
        source, target, lambda texts: calls.append(len(texts)) or atoms(texts), chunk_rows=7
    )
    assert report.resumed == 7 * after
    assert sum(calls) == 50 - 7 * after
    assert target.read_bytes() == whole.read_bytes()
    assert Path(f"{target}.rejected.csv").read_bytes() == Path(f"{whole}.rejected.csv").read_bytes()


SLOW = """
import sys, time
sys.path.insert(0, sys.argv[3])
from test_libraries import atoms
from fusionbook.embeddings import stream_molecules

def slow(texts):
    time.sleep(0.05)
    return atoms(texts)

stream_molecules(sys.argv[1], sys.argv[2], slow, chunk_rows=2)
"""


def test_killed_in_the_middle_and_run_again(source, tmp_path):
    target = tmp_path / "out.parquet"
    command = [sys.executable, "-c", SLOW, str(source), str(target), str(Path(__file__).parent)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    folder = Path(f"{target}.parts")
    limit = time.monotonic() + 60
    while len(list(folder.glob("rows-*.parquet"))) < 4 and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (folder / ".rows-000000000040.parquet.1.2.tmp").write_bytes(b"half a part")
    assert not target.exists()
    report = stream_molecules(source, target, atoms, chunk_rows=2)
    assert 8 <= report.resumed < 50
    stream_molecules(source, tmp_path / "whole.parquet", atoms, chunk_rows=2)
    assert target.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not folder.exists()


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_lost_or_damaged_part_is_computed_again(source, tmp_path, damage):
    target = tmp_path / "out.parquet"
    with pytest.raises(Stop):
        stream_molecules(source, target, stopping(5), chunk_rows=7)
    part = Path(f"{target}.parts") / "rows-000000000014.parquet"
    if damage == "missing":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:100])
    assert stream_molecules(source, target, atoms, chunk_rows=7).resumed == 14
    assert pd.read_parquet(target)["row"].tolist() == list(range(50))


@pytest.mark.parametrize("change", ["source", "chunk_rows", "columns", "about"])
def test_parts_of_another_run_are_refused(source, tmp_path, change):
    target = tmp_path / "out.parquet"
    options = {"chunk_rows": 7, "about": {"model": "a"}}
    with pytest.raises(Stop):
        stream_molecules(source, target, stopping(2), **options)
    if change == "source":
        source.write_text(source.read_text().replace("m, 49", "m, 50"))
    else:
        options |= {
            "chunk_rows": {"chunk_rows": 8},
            "columns": {"columns": ["name"]},
            "about": {"about": None},
        }[change]
    with pytest.raises(InputError, match="unfinished run.*resume=False"):
        stream_molecules(source, target, atoms, **options)
    report = stream_molecules(source, target, atoms, resume=False, **options)
    assert report.resumed == 0 and report.rows == 50


def test_a_failure_before_the_first_part_leaves_nothing(source, tmp_path):
    target = tmp_path / "out.parquet"
    with pytest.raises(InputError, match="smiles"):
        stream_molecules(source, target, atoms, smiles="SMILE")
    assert [path.name for path in tmp_path.iterdir()] == [source.name]
    stream_molecules(source, target, atoms)


def test_a_chunk_without_any_readable_row(tmp_path):
    """A model refuses a list in which nothing can be read; the row must not be lost for that."""

    def model_like(texts):
        counts = atoms(texts)
        if counts["atoms"].isna().all():
            raise InputError("No row has a usable molecule.")
        return counts

    source = written(tmp_path, ".csv", library())
    for chunk_rows in (1, 3):
        target = tmp_path / f"{chunk_rows}.parquet"
        assert stream_molecules(source, target, model_like, chunk_rows=chunk_rows).n_rejected == len(BAD)
        assert pd.read_parquet(target)["atoms"].isna().sum() == len(BAD)


def test_blocks_become_columns_of_float32(source, tmp_path):
    def embed(texts):
        import warnings

        warnings.warn("some rows", RowsWarning, stacklevel=1)
        n = len(texts)
        lengths = np.array([len(text) for text in texts], dtype=np.float32)
        blocks = {"a": np.outer(lengths, [1, 2]).astype(np.float32), "b": np.ones((n, 1), np.float32)}
        return EmbeddingBlocks(blocks, texts)

    target = tmp_path / "out.parquet"
    stream_molecules(source, target, embed, columns=["name"], chunk_rows=9)
    schema = pq.read_schema(target)
    assert schema.names == ["row", "name", "smiles", "a 0", "a 1", "b 0"]
    assert {schema.field(name).type for name in ("a 0", "a 1", "b 0")} == {pa.float32()}
    out = pd.read_parquet(target)
    assert (out["a 1"] == 2 * out["smiles"].str.len()).all()


def test_names_that_are_taken_get_a_number(tmp_path):
    frame = library().rename(columns={"name": "row", "mass": "atoms"})
    target = tmp_path / "out.parquet"
    stream_molecules(written(tmp_path, ".csv", frame), target, atoms)
    assert pq.read_schema(target).names == ["row 2", "row", "smiles", "atoms", "atoms 2", "square"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "out.txt"}, "should end in"),
        ({"target": "library.csv"}, "source itself"),
        ({"source": "missing.csv"}, "no file"),
        ({"columns": "all"}, "columns"),
        ({"columns": ["nam"]}, "'name'"),
        ({"chunk_rows": 0}, "chunk_rows"),
        ({"compute": lambda texts: atoms(texts[:-1])}, "one row each"),
        ({"compute": lambda texts: [1] * len(texts)}, "DataFrame or EmbeddingBlocks"),
    ],
)
def test_what_cannot_be_done_is_said(source, tmp_path, change, message):
    options = {"source": source, "target": tmp_path / "out.parquet", "compute": atoms} | change
    options |= {name: tmp_path / options[name] for name in ("source", "target")}
    with pytest.raises(InputError, match=message):
        stream_molecules(**options)


@pytest.mark.parametrize("content", [b"", b"smiles\n", b"smiles,smiles\nC,C\n", b"\xff\xfe"])
def test_sources_without_rows_or_with_bad_ones(tmp_path, content):
    source = tmp_path / "bad.csv"
    source.write_bytes(content)
    with pytest.raises(InputError):
        stream_molecules(source, tmp_path / "out.parquet", atoms)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


@pytest.mark.parametrize("kind", [".csv.gz", ".parquet"])
def test_damaged_sources(tmp_path, kind):
    source = written(tmp_path, kind, library())
    source.write_bytes(source.read_bytes()[:-30])
    with pytest.raises(InputError, match="cannot be read"):
        stream_molecules(source, tmp_path / "out.parquet", atoms)


def test_files_that_are_not_ours_are_not_deleted(source, tmp_path):
    target = tmp_path / "out.parquet"
    folder = Path(f"{target}.parts")
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    for resume in (True, False):
        with pytest.raises(InputError, match="other files"):
            stream_molecules(source, target, atoms, resume=resume)
    assert (folder / "thesis.tex").exists()


def test_the_manifest_is_plain_json(source, tmp_path):
    target = tmp_path / "out.csv.gz"
    with pytest.raises(Stop):
        stream_molecules(source, target, stopping(1), chunk_rows=7, about={"model": "a"})
    manifest = json.loads((Path(f"{target}.parts") / "manifest.json").read_text())
    assert manifest["source"]["bytes"] == source.stat().st_size
    stream_molecules(source, target, atoms, chunk_rows=7, about={"model": "a"})
    assert gzip.decompress(target.read_bytes()).count(b"\n") == 51


def test_two_processes_write_what_one_writes(source, tmp_path):
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    alone = stream_molecules(source, one, atoms, chunk_rows=4, n_jobs=1)
    together = stream_molecules(source, two, atoms, chunk_rows=4, n_jobs=2)
    pd.testing.assert_frame_equal(pd.read_parquet(one), pd.read_parquet(two))
    assert alone.rejected().equals(together.rejected())


def test_long_files_are_shared_out_where_the_computation_can_be_sent(monkeypatch):
    monkeypatch.setattr(embeddings.joblib, "effective_n_jobs", lambda n_jobs: 3 if n_jobs == -1 else n_jobs)
    lock = threading.Lock()  # cannot be pickled
    assert embeddings._processes(None, 40_000, atoms) == 3
    assert embeddings._processes(None, 40_000, lambda texts: atoms(texts)) == 3
    assert embeddings._processes(None, 40_000, lambda texts: lock) == 1
    assert embeddings._processes(None, 39_999, atoms) == embeddings._processes(None, None, atoms) == 1
    assert embeddings._processes(2, 5, atoms) == 2


def test_results_of_any_kind_and_chunks_without_any(tmp_path):
    """Text, truth values and numbers; the first chunk has no text, the second no molecule."""
    smiles = ["C", "CC", "x", "y", "CCCC", "CCO"]
    pd.DataFrame({"smiles": smiles}).to_csv(tmp_path / "in.csv", index=False)

    def compute(texts):
        known = [parse_smiles(text)[0] is not None for text in texts]
        if not any(known):
            raise InputError("no molecule")
        n = [len(text) if there else np.nan for text, there in zip(texts, known)]
        notes = ["long" if there and size > 2 else None for there, size in zip(known, n)]
        return pd.DataFrame({"n": n, "note": notes, "big": [bool(size > 2) for size in n]})

    report = stream_molecules(
        tmp_path / "in.csv", tmp_path / "out.parquet", compute, chunk_rows=2, progress=False
    )
    out = pd.read_parquet(tmp_path / "out.parquet")
    assert out["n"].tolist()[:2] + out["n"].tolist()[4:] == [1, 2, 4, 3] and out["n"][2:4].isna().all()
    assert (
        out["note"].isna().tolist() == [True] * 4 + [False] * 2 and out["note"].tolist()[4:] == ["long"] * 2
    )
    assert out["big"].isna().tolist() == [False] * 2 + [True] * 2 + [False] * 2
    assert out["big"].dropna().tolist() == [False, False, True, True]
    assert report.rejected()["row"].tolist() == [2, 3]


def test_numbers_here_and_text_there(tmp_path):
    pd.DataFrame({"smiles": ["C", "CC"]}).to_csv(tmp_path / "in.csv", index=False)
    values = iter([1.0, "high"])
    with pytest.raises(InputError, match="numbers in one chunk and text in another.*level"):
        stream_molecules(
            tmp_path / "in.csv",
            tmp_path / "out.csv",
            lambda texts: pd.DataFrame({"level": [next(values)]}),
            chunk_rows=1,
            n_jobs=1,
            progress=False,
        )
