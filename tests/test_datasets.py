"""Data sets: the bundled table, and downloads against a server on this machine with files made here."""

import functools
import gzip
import http.server
import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from fusionbook import datasets
from fusionbook.core import InputError, RowsWarning, assert_array
from fusionbook.datasets import MOLECULENET, QM9, Source, download_moleculenet, download_qm9, list_sources
from fusionbook.molecules import Task, parse_smiles

TEXT = "iupac,smiles,expt,calc\nethanol,CCO,-5.0,-4.7\nmethane,C,2.0,2.4\nbenzene,c1ccccc1,-0.9,-0.8\n"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; counts what it is asked for; tears the connection of files called torn."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if "torn" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(TEXT.encode())
            return
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder, the server that serves it, and a cache folder that nothing else uses."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("FUSIONBOOK_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "SAMPL.csv").write_text(TEXT)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    server.asked = []
    server.folder = folder
    server.cache = tmp_path / "cache"
    server.url = f"http://127.0.0.1:{server.server_port}/"
    server.source = replace(MOLECULENET["freesolv"], url=server.url + "SAMPL.csv", rows=3)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def names(folder):
    return sorted(file.name[8:] for file in folder.iterdir()) if folder.is_dir() else []


network = pytest.mark.network


# ---------------------------------------------------------------- downloads


@network
def test_first_call_downloads_and_the_second_does_not_ask(served, capfd):
    first = download_moleculenet("freesolv", source=served.source)
    assert served.asked == ["/SAMPL.csv"]
    second = download_moleculenet("FreeSolv", source=served.source)
    assert served.asked == ["/SAMPL.csv"]
    for table in (first, second):
        assert table.smiles == ("CCO", "C", "c1ccccc1")
        assert_array(table.Y, [[-5.0], [2.0], [-0.9]])
        assert table.tasks == (Task("dG_hyd", "kcal/mol"),)
        assert list(table.extra) == ["iupac", "calc"]
    assert names(served.cache) == ["-SAMPL.csv", "-SAMPL.csv.checksum.json"]
    assert capfd.readouterr().err == ""


@network
def test_the_record_holds_the_checksum_of_the_file(served):
    import hashlib

    download_moleculenet("freesolv", source=served.source)
    record = json.loads(next(served.cache.glob("*.json")).read_text())
    assert record["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert record["url"] == served.source.url
    assert record["bytes"] == len(TEXT)


@network
def test_cache_argument_goes_before_the_environment(served, tmp_path):
    download_moleculenet("freesolv", source=served.source, cache=tmp_path / "mine")
    assert names(served.cache) == []
    assert len(names(tmp_path / "mine")) == 2


@network
def test_two_addresses_with_one_file_name_do_not_meet(served):
    (served.folder / "other").mkdir()
    (served.folder / "other" / "SAMPL.csv").write_text(TEXT.replace("-5.0", "-6.0"))
    download_moleculenet("freesolv", source=served.source)
    other = replace(served.source, url=served.url + "other/SAMPL.csv")
    assert download_moleculenet("freesolv", source=other).Y[0, 0] == -6.0
    assert download_moleculenet("freesolv", source=served.source).Y[0, 0] == -5.0


@network
def test_a_changed_file_on_the_server_is_refused(served):
    download_moleculenet("freesolv", source=served.source)
    next(served.cache.glob("*-SAMPL.csv")).unlink()
    (served.folder / "SAMPL.csv").write_text(TEXT.replace("-5.0", "-5.1"))
    with pytest.raises(InputError) as caught:
        download_moleculenet("freesolv", source=served.source)
    for piece in (served.source.url, "recorded at the first download", "delete the record", "path="):
        assert piece in str(caught.value)
    assert names(served.cache) == ["-SAMPL.csv.checksum.json"]


@network
def test_a_damaged_file_in_the_cache_is_fetched_again(served):
    download_moleculenet("freesolv", source=served.source)
    file = next(served.cache.glob("*-SAMPL.csv"))
    file.write_text(TEXT.replace("-5.0", "-9.9"))
    assert download_moleculenet("freesolv", source=served.source).Y[0, 0] == -5.0
    assert len(served.asked) == 2
    file.write_text(TEXT.replace("-5.0", "-9.9"))
    (served.folder / "SAMPL.csv").unlink()
    with pytest.raises(InputError, match="could not be downloaded"):
        download_moleculenet("freesolv", source=served.source)


@network
def test_a_published_checksum_is_enforced(served):
    wrong = replace(served.source, sha256="0" * 64)
    with pytest.raises(InputError, match=f"not the one published, {'0' * 64}"):
        download_moleculenet("freesolv", source=wrong)
    assert names(served.cache) == []


@network
def test_a_published_checksum_goes_before_the_record(served):
    download_moleculenet("freesolv", source=served.source)
    with pytest.raises(InputError, match="not the one published"):
        download_moleculenet("freesolv", source=replace(served.source, sha256="0" * 64))


@network
@pytest.mark.parametrize(
    ("text", "piece"),
    [
        (TEXT + "propane,CCC,2.0,2.1\n", "has 4 rows; the original has 3"),
        (TEXT.replace("expt", "exp"), "Did you mean"),
        (TEXT.replace("smiles", "structure"), "'smiles'"),
        ("<html>moved</html>\n", "another file than expected"),
        ("", "cannot be read as CSV"),
        ("a,b\n1,2\n1,2,3\n", "cannot be read as CSV"),
    ],
)
def test_an_unexpected_file_is_refused_and_not_kept(served, text, piece):
    (served.folder / "SAMPL.csv").write_text(text)
    with pytest.raises(InputError, match=piece):
        download_moleculenet("freesolv", source=served.source)
    assert names(served.cache) == []


DAMAGED = {
    "cut": gzip.compress(TEXT.encode())[:-20],
    "checksum": gzip.compress(TEXT.encode())[:-8] + bytes(8),
    "packing": gzip.compress(TEXT.encode())[:10]
    + b"\xff" * 40,  # zlib's own error, neither OSError nor EOFError
}


@network
@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_gzip_is_refused_and_not_kept(served, how):
    (served.folder / "SAMPL.csv").write_bytes(DAMAGED[how])
    with pytest.raises(InputError, match="cannot be read as CSV"):
        download_moleculenet("freesolv", source=served.source)
    assert names(served.cache) == []
    (served.folder / "SAMPL.csv").write_bytes(gzip.compress(TEXT.encode()))
    assert download_moleculenet("freesolv", source=served.source).n == 3


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_gzip_at_hand_is_refused(tmp_path, how):
    file = tmp_path / "SAMPL.csv.gz"
    file.write_bytes(DAMAGED[how])
    with pytest.raises(InputError, match="cannot be read as CSV"):
        download_moleculenet("freesolv", path=file)
    assert file.exists()


@network
def test_a_torn_download_leaves_nothing_behind(served):
    torn = replace(served.source, url=served.url + "torn.csv")
    with pytest.raises(InputError, match="could not be downloaded"):
        download_moleculenet("freesolv", source=torn)
    assert names(served.cache) == []


@network
def test_missing_on_the_server(served):
    with pytest.raises(InputError, match="404"):
        download_moleculenet("freesolv", source=replace(served.source, url=served.url + "gone.csv"))


@network
def test_server_down_names_url_reason_and_remedy(served):
    served.shutdown()
    served.server_close()
    with pytest.raises(InputError) as caught:
        download_moleculenet("freesolv", source=served.source)
    for piece in (served.source.url, "refused", "path="):
        assert piece in str(caught.value)


@network
def test_server_down_does_not_matter_once_cached(served):
    download_moleculenet("freesolv", source=served.source)
    served.shutdown()
    served.server_close()
    assert download_moleculenet("freesolv", source=served.source).n == 3


@network
def test_a_call_that_was_interrupted_before_the_record(served):
    download_moleculenet("freesolv", source=served.source)
    record = next(served.cache.glob("*.json"))
    record.unlink()
    assert download_moleculenet("freesolv", source=served.source).n == 3
    assert record.is_file()
    record.write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        download_moleculenet("freesolv", source=served.source)


@network
def test_gzipped_files_are_known_by_their_bytes(served):
    (served.folder / "a.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    (served.folder / "b.csv").write_bytes(gzip.compress(TEXT.encode()))
    for name in ("a.csv.gz", "b.csv"):
        assert download_moleculenet("freesolv", source=replace(served.source, url=served.url + name)).n == 3


@network
def test_a_progress_bar_on_request(served, capfd):
    download_moleculenet("freesolv", source=served.source, progress=True)
    assert "downloading" in capfd.readouterr().err


def test_a_cache_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    source = replace(MOLECULENET["freesolv"], url="http://127.0.0.1:9/SAMPL.csv")
    with pytest.raises(InputError, match="could not be downloaded"):
        download_moleculenet("freesolv", source=source, cache=tmp_path / "file" / "cache")


# ---------------------------------------------------------------- files at hand

QM9_HEADER = "mol_id,smiles,A,B,C,mu,alpha,homo,lumo,gap,r2,zpve,u0,u298,h298,g298,cv,u0_atom,u298_atom,h298_atom,g298_atom"
QM9_ROWS = [
    "gdb_1,C,157.7,157.7,157.7,0.0,13.2,-0.39,0.12,0.51,35.4,0.045,-40.5,-40.4,-40.3,-40.6,6.5,-396,-399,-401,-372",
    "gdb_2,N,293.6,293.5,191.3,1.6,9.5,-0.26,0.08,0.34,26.2,0.034,-56.5,-56.4,-56.3,-56.6,6.3,-277,-278,-280,-259",
]


def write_qm9(path):
    path.write_text("\n".join([QM9_HEADER, *QM9_ROWS]) + "\n")
    return path


def test_qm9_default_tasks_and_units(tmp_path):
    table = download_qm9(write_qm9(tmp_path / "qm9.csv"), source=replace(QM9, rows=2))
    assert table.task_names == (
        "mu alpha homo lumo gap r2 zpve cv u0_atom u298_atom h298_atom g298_atom".split()
    )
    expected = ["D", "Bohr^3", *["Ha"] * 3, "Bohr^2", "Ha", "cal/mol/K", *["kcal/mol"] * 4]
    assert list(table.units.values()) == expected
    assert_array(table.Y[0], [0.0, 13.2, -0.39, 0.12, 0.51, 35.4, 0.045, 6.5, -396, -399, -401, -372])
    assert "u0" in table.extra


def test_qm9_other_tasks(tmp_path):
    path = write_qm9(tmp_path / "qm9.csv")
    source = replace(QM9, rows=2)
    table = download_qm9(path, tasks=["u0", "mu"], source=source)
    assert table.units == {"u0": "Ha", "mu": "D"}
    assert_array(table.Y, [[-40.5, 0.0], [-56.5, 1.6]])
    with pytest.raises(InputError, match="Did you mean 'u0_atom'"):
        download_qm9(path, tasks=["u0_atoms"], source=source)


def test_a_file_at_hand_must_be_whole_unless_said_otherwise(tmp_path):
    path = write_qm9(tmp_path / "qm9.csv")
    with pytest.raises(InputError, match="has 2 rows; the original has 133,885.*subset=True"):
        download_qm9(path)
    assert download_qm9(path, subset=True).n == 2
    with pytest.raises(InputError, match="no file"):
        download_qm9(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="no file"):
        download_qm9(tmp_path)


def test_a_gzipped_file_at_hand(tmp_path):
    whole = write_qm9(tmp_path / "qm9.csv").read_bytes()
    (tmp_path / "qm9.csv.gz").write_bytes(gzip.compress(whole))
    assert download_qm9(tmp_path / "qm9.csv.gz", subset=True).n == 2
    (tmp_path / "half.csv.gz").write_bytes(gzip.compress(whole * 200)[:200])
    with pytest.raises(InputError, match="cannot be read"):
        download_qm9(tmp_path / "half.csv.gz", subset=True)


def test_rows_that_do_not_parse_are_reported(tmp_path):
    (tmp_path / "BBBP.csv").write_text("num,name,p_np,smiles\n1,a,1,CCO\n2,b,0,CC(\n3,c,0,C\n")
    with pytest.warns(RowsWarning, match="1 of 3 rows rejected"):
        table = download_moleculenet(
            "bbbp", tmp_path / "BBBP.csv", source=replace(MOLECULENET["bbbp"], rows=3)
        )
    assert table.rows.tolist() == [0, 2]
    assert_array(table.Y, [[1.0], [0.0]])


def test_qm8_takes_the_first_of_columns_that_occur_twice(tmp_path):
    block = "E1-PBE0,E2-PBE0,f1-PBE0,f2-PBE0"
    header = f"smiles,E1-CC2,E2-CC2,f1-CC2,f2-CC2,{block},{block},E1-CAM,E2-CAM,f1-CAM,f2-CAM"
    (tmp_path / "qm8.csv").write_text(header + "\nC," + ",".join(map(str, range(16))) + "\n")
    table = download_moleculenet("qm8", tmp_path / "qm8.csv", source=replace(MOLECULENET["qm8"], rows=1))
    assert table.t == 12
    assert table.Y[0, table.task_names.index("E1-PBE0")] == 4.0
    assert table.Y[0, table.task_names.index("E1-CAM")] == 12.0
    assert table.units["E2-CC2"] == "Ha"
    assert table.units["f2-CC2"] == ""


def test_bace_reads_its_smiles_column(tmp_path):
    (tmp_path / "bace.csv").write_text("mol,CID,Class,Model,pIC50\nCCO,B1,1,Train,9.1\nCC,B2,0,Test,3.2\n")
    source = replace(MOLECULENET["bace"], rows=2)
    assert download_moleculenet("bace", tmp_path / "bace.csv", source=source).task_names == ["Class"]
    table = download_moleculenet("bace", tmp_path / "bace.csv", source=source, tasks="pIC50")
    assert table.units == {"pIC50": "-log10(mol/L)"}
    assert_array(table.Y, [[9.1], [3.2]])


# ---------------------------------------------------------------- the list of sources


def test_sources_are_complete():
    table = list_sources()
    assert table.loc["qm9", "rows"] == 133_885
    counts = {"esol": 1128, "freesolv": 642, "lipophilicity": 4200, "qm8": 21786, "bbbp": 2050, "bace": 1513}
    for name, rows in {**counts, "tox21": 7831}.items():
        assert MOLECULENET[name].rows == rows
    assert len(MOLECULENET["tox21"].tasks) == 12
    for name, source in {"qm9": QM9, **MOLECULENET}.items():
        assert source.url.startswith("https://"), name
        assert source.reference, name
        assert not set(source.tasks) & set(source.others), name
        assert all(isinstance(task, Task) for task in {**source.tasks, **source.others}.values()), name
        assert source.sha256 is None or len(source.sha256) == 64, name


def test_names_and_aliases(tmp_path):
    (tmp_path / "a.csv").write_text("CMPD_CHEMBLID,exp,smiles\nCHEMBL1,3.5,CCO\n")
    for name in ("lipo", "Lipophilicity"):
        assert download_moleculenet(name, tmp_path / "a.csv", subset=True).task_names == ["logD7.4"]
    with pytest.raises(InputError, match="Did you mean 'esol'"):
        download_moleculenet("esoll")


def test_a_source_of_ones_own(tmp_path):
    (tmp_path / "a.csv").write_text("mol,y\nCCO,1.0\nC,2.0\n")
    own = Source(url="https://example.org/a.csv", rows=2, tasks={"y": Task("yield", "%")}, smiles="mol")
    table = download_moleculenet("mine", tmp_path / "a.csv", source=own)
    assert table.units == {"yield": "%"}
    assert_array(table.Y, [[1.0], [2.0]])


# ---------------------------------------------------------------- the bundled table


def test_the_bundled_table():
    table = datasets.load_xtb()
    assert table.n >= 6000
    assert table.t == 12
    assert table.rejected == ()
    assert len(set(table.canonical)) == table.n
    assert table.mask.all()
    assert all(table.Y.std(axis=0) > 0)
    file = datasets.resources.files("fusionbook") / "data" / "xtb.csv.gz"
    assert len(file.read_bytes()) < 1_500_000


def test_the_bundled_numbers_obey_their_definitions():
    table = datasets.load_xtb()
    column = dict(zip(table.task_names, table.Y.T))
    assert_array(column["gap"], column["lumo"] - column["homo"], atol=1.01e-4)
    assert (column["gap"] > 0).all()
    assert (column["dipole"] >= 0).all()
    assert (column["polarisability"] > 0).all()
    assert (column["atomisation"] > 0).all()
    assert (column["q_max"] > column["q_min"]).all()
    benzene = table.canonical.index("c1ccccc1") if "c1ccccc1" in table.canonical else None
    if benzene is not None:
        assert column["dipole"][benzene] < 0.05


def test_the_bundled_molecules_are_small_neutral_and_organic():
    for text in datasets.load_xtb().smiles:
        mol, reason = parse_smiles(text)
        assert reason == ""
        assert 3 <= mol.GetNumAtoms() <= 14
        assert {atom.GetSymbol() for atom in mol.GetAtoms()} <= set("CNOFS") | {"Cl"}
        assert sum(atom.GetFormalCharge() for atom in mol.GetAtoms()) == 0
        assert "." not in text


def test_the_bundled_properties_correlate_strongly_weakly_and_in_between():
    table = datasets.load_xtb()
    size = np.abs(np.corrcoef(table.Y.T)[np.triu_indices(12, k=1)])
    assert (size >= 0.8).sum() >= 2
    assert ((size >= 0.4) & (size < 0.8)).sum() >= 10
    assert (size < 0.2).sum() >= 10


def test_the_data_card_agrees_with_the_table():
    card = datasets.xtb_card()
    table = datasets.load_xtb()
    assert f"{table.n:,} neutral" in card
    for task in table.tasks:
        assert f"| `{task.name}` | {task.unit or '-'} |" in card
    for piece in ("GFN2-xTB", "tblite", "seed"):
        assert piece in card


def test_a_package_without_its_file():
    with pytest.raises(InputError, match="install it again"):
        datasets._bundled("nothing.csv.gz")
