"""Reading, thinning out and splitting tables of molecules: bad input, laws, hand-counted cases."""

import gzip
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusionbook.core import InputError, RowsWarning, assert_array
from fusionbook.molecules import (
    MoleculeTable,
    Note,
    Split,
    Task,
    as_table,
    canonical_smiles,
    check_split,
    check_tasks,
    murcko_scaffold,
    parse_smiles,
    read_molecules,
    sparsify,
    split_molecules,
    split_unit,
)

CHAINS = ["C" * i for i in range(1, 41)]
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def table_of(smiles, Y=None, tasks=None, **parts):
    Y = np.arange(float(len(smiles)))[:, None] if Y is None else np.asarray(Y, dtype=float)
    tasks = tuple(Task(f"t{j}") for j in range(Y.shape[1])) if tasks is None else tasks
    return MoleculeTable(tuple(smiles), Y, tasks, **parts)


def read_quietly(*args, **options):
    """Read and return the table with the `RowsWarning`s that it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = read_molecules(*args, **options)
    return table, [str(item.message) for item in caught if item.category is RowsWarning]


# ---------------------------------------------------------------- SMILES


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("C1CC", "syntax"),
        ("CC(", "syntax"),
        ("[Xx]", "syntax"),
        ("InChI=1S/CH4/h1H4", "syntax"),
        ("C(F)(F)(F)(F)F", "valence for atom # 0 C, 5"),
        ("c1cccc1", "kekulize"),
        ("", "empty"),
        ("   ", "empty"),
        (None, "empty"),
        (float("nan"), "empty"),
        (pd.NA, "empty"),
        (3.5, "not hold text"),
        ("*CC", "dummy"),
        ("[1*]CC", "dummy"),
        ("[#0]CC", "dummy"),
        ("C~C", "any-bond"),
        ("C\ud800", "syntax"),
        ("C\0C", "syntax"),
    ],
)
def test_refused_smiles_has_its_reason(text, reason, capfd):
    mol, why = parse_smiles(text)
    assert mol is None
    assert reason in why
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "text", ["[H][H]", "[He]", "C", "[Na+].[Cl-]", "[13CH4]", "CS(=O)(=O)C", "C[Pt]C", "[U]"]
)
def test_single_atoms_salts_and_odd_elements_are_molecules(text):
    mol, why = parse_smiles(text)
    assert why == ""
    assert mol.GetNumAtoms() >= 1


@pytest.mark.parametrize(
    ("mapped", "plain"),
    [
        ("[CH3:1][OH:2]", "CO"),
        ("[H:3][O:2][CH3:1]", "CO"),
        ("[13CH3:7]O", "[13CH3]O"),
        ("[CH3:1][C@H:2]([F:3])Cl", "C[C@H](F)Cl"),
        ("[CH3:1][C@H](F)[CH3:2]", "CC(C)F"),  # only the numbers tell the two methyl groups apart
        ("[CH3:1]/C(=C/F)[CH3:2]", "CC(C)=CF"),
        ("[cH:1]1[cH:2][cH:3][cH:4][cH:5][c:6]1[OH:7]", "c1ccccc1O"),
        ("[Na+:1].[Cl-:2]", "[Na+].[Cl-]"),
    ],
)
def test_atom_map_numbers_make_no_other_molecule(mapped, plain):
    canonical, reasons, remarks = canonical_smiles([mapped, plain])
    assert canonical[0] == canonical[1]
    assert reasons == ["", ""]
    assert ["atom-map numbers were ignored" in remark for remark in remarks] == [True, False]


def test_aromatic_bonds_and_names_with_a_colon_are_no_atom_map_numbers():
    canonical, _, remarks = canonical_smiles(["c1:c:c:c:c:c:1", "CO id:7"])
    assert canonical == ["c1ccccc1", "CO"]
    assert remarks == ["", "text after the first blank was ignored"]


def test_numbered_and_plain_molecules_stay_together():
    smiles = [f"[CH3:1]{'C' * i}" for i in range(1, 21)] + ["C" * (i + 1) for i in range(1, 21)]
    table = table_of(smiles)
    assert len(set(table.canonical)) == 20
    split = split_molecules(table, fractions=(0.5, 0.25, 0.25))
    for part in (split.train, split.valid, split.test):
        assert {i % 20 for i in part if i < 20} == {i % 20 for i in part if i >= 20}


def test_a_molecule_of_500_heavy_atoms():
    table = table_of(["C" * 500, "CC(=O)N" * 125 + "C", "c1ccccc1" * 84])
    assert parse_smiles(table.smiles[0])[0].GetNumAtoms() == 500
    assert table.n == 3


def test_remarks_on_usable_molecules():
    canonical, reasons, remarks = canonical_smiles(
        ["CCO", "[Na+].[Cl-]", "C[Pt]C", "[I-]", "[Kr]", "CCO ethanol"]
    )
    assert reasons == [""] * 6
    assert remarks[0] == remarks[3] == remarks[4] == ""
    assert "2 separate parts" in remarks[1]
    assert "Pt" in remarks[2]
    assert "after the first blank" in remarks[5]
    assert canonical[5] == canonical[0]


# ---------------------------------------------------------------- reading


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "name": ["ethanol", "hexane", "benzene", "salt"],
            "smiles": [" CCO ", "CCCCCC", "c1ccccc1", "[Na+].[Cl-]"],
            "logS": [1.1, -4.0, None, 0.7],
            "bp (K)": [351.4, None, 353.2, 1738.0],
        }
    )


def test_the_four_ways_to_read_agree(frame, tmp_path):
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    before = frame.copy(deep=True)
    for source in (frame, tmp_path / "a.csv", str(tmp_path / "a.csv.gz"), tmp_path / "a.parquet"):
        table = read_molecules(source)
        assert table.smiles == ("CCO", "CCCCCC", "c1ccccc1", "[Na+].[Cl-]")
        assert_array(table.Y, [[1.1, 351.4], [-4.0, np.nan], [np.nan, 353.2], [0.7, 1738.0]])
        assert table.tasks == (Task("logS"), Task("bp", "K"))
        assert list(table.extra["name"]) == ["ethanol", "hexane", "benzene", "salt"]
        assert [(note.row, "2 separate parts" in note.text) for note in table.notes] == [(3, True)]
    pd.testing.assert_frame_equal(frame, before)


def test_what_is_written_back_reads_the_same(frame, tmp_path):
    first = read_molecules(frame)
    first.to_frame().to_csv(tmp_path / "b.csv", index=False)
    second = read_molecules(tmp_path / "b.csv", tasks=first.task_names)
    assert second.smiles == first.smiles
    assert second.tasks == first.tasks
    assert_array(second.Y, first.Y)
    assert list(second.extra["name"]) == list(first.extra["name"])


def test_rejected_rows_keep_the_callers_positions():
    smiles = ["CCO", "CC(", None, "CCC", "*C", "CCCC"]
    table, told = read_quietly(pd.DataFrame({"smiles": smiles, "a": range(6)}, index=list("uvwxyz")))
    assert table.rows.tolist() == [0, 3, 5]
    assert_array(table.Y[:, 0], [0.0, 3.0, 5.0])
    assert [item.row for item in table.rejected] == [1, 2, 4]
    assert table.report()["reason"].tolist() == [item.reason for item in table.rejected]
    assert len(told) == 1
    assert "3 of 6 rows rejected" in told[0]


def test_raise_lists_every_problem_of_rows_and_cells():
    smiles = ["CC("] * 60 + ["CCO", "CCC"]
    values = ["1"] * 60 + ["high", "2"]
    data = pd.DataFrame({"smiles": smiles, "a": values})
    with pytest.raises(InputError) as caught:
        read_molecules(data, on_error="raise")
    text = str(caught.value)
    assert "61 problems" in text
    assert "and 11 more" in text
    few = pd.DataFrame({"smiles": ["CC(", "CCO", "CCC"], "a": ["1", "high", "inf"]})
    with pytest.raises(InputError) as caught:
        read_molecules(few, on_error="raise")
    for piece in ("row 0 'CC('", "row 1 'CCO': column 'a': 'high'", "row 2 'CCC': column 'a': 'inf'"):
        assert piece in str(caught.value)


@pytest.mark.parametrize("kind", ["frame", "csv"])
def test_text_and_infinities_cost_their_cell_only(kind, tmp_path):
    data = pd.DataFrame(
        {
            "smiles": ["C", "CC", "CCC", "CCCC"],
            "a": ["1.5", ">5", "inf", "NA"],
            "b": ["1e2", "-inf", "", " 7 "],
        }
    )
    if kind == "csv":
        data.to_csv(tmp_path / "a.csv", index=False)
        data = tmp_path / "a.csv"
    table, told = read_quietly(data)
    assert table.n == 4
    assert_array(table.Y, [[1.5, 100.0], [np.nan, np.nan], [np.nan, np.nan], [np.nan, 7.0]])
    assert [(note.row, note.text.split("'")[1]) for note in table.notes] == [(1, "a"), (1, "b"), (2, "a")]
    assert "'>5'" in table.notes[0].text
    assert "3 cells taken as unmeasured" in told[0]


def test_a_bad_cell_of_a_rejected_row_is_not_listed_twice():
    table, told = read_quietly(
        pd.DataFrame({"smiles": ["CC(", "C", "CC", "CCC"], "a": ["high", "1_0", "2", "3"]})
    )
    assert [item.row for item in table.rejected] == [0]
    assert [(note.row, "'1_0'" in note.text) for note in table.notes] == [(1, True)]
    assert "1 of 4 rows rejected, 1 cells" in told[0]
    assert_array(table.Y, [[np.nan], [2.0], [3.0]])


def test_infinities_of_a_float_column_are_listed():
    table, _ = read_quietly(pd.DataFrame({"smiles": ["C", "CC"], "a": [np.inf, 1.0]}))
    assert_array(table.Y, [[np.nan], [1.0]])
    assert table.notes[0].row == 0


def test_which_columns_are_tasks():
    data = pd.DataFrame(
        {
            "smiles": ["C", "CC", "CCC", "CCCC"],
            "half": ["1", "2", "x", "y"],
            "less": ["1", "x", "y", "z"],
            "flag": [True, False, True, True],
            "spoken": ["True", "False", "", "true"],
            "nullable": pd.array([1, None, 3, 4], dtype="Int64"),
            "empty": [None] * 4,
            "when": pd.to_datetime(["2020-01-01"] * 4),
            "grouped": ["1_000", "a", "b", "c"],
            "Unnamed: 0": range(4),
        }
    )
    table, _ = read_quietly(data)
    assert table.task_names == ["half", "flag", "spoken", "nullable", "empty"]
    assert_array(table.Y[:, 1], [1.0, 0.0, 1.0, 1.0])
    assert_array(table.Y[:, 2], [1.0, 0.0, np.nan, 1.0])
    assert_array(table.Y[:, 3], [1.0, np.nan, 3.0, 4.0])
    assert list(table.extra) == ["less", "when", "grouped", "Unnamed: 0"]


def test_tasks_can_be_named_with_or_without_unit(frame):
    assert read_molecules(frame, tasks=["bp"]).tasks == (Task("bp", "K"),)
    assert read_molecules(frame, tasks=["bp (K)", "logS"]).task_names == ["bp", "logS"]
    assert read_molecules(frame, tasks={"logS": "log10(mol/L)"}).units == {"logS": "log10(mol/L)"}
    assert read_molecules(frame, tasks="logS").task_names == ["logS"]
    nothing = read_molecules(frame, tasks=[])
    assert (nothing.t, nothing.Y.shape) == (0, (4, 0))
    assert list(nothing.extra) == ["name", "logS", "bp (K)"]


def test_two_columns_that_differ_by_unit_keep_their_full_names():
    table = read_molecules(pd.DataFrame({"smiles": ["C", "CC"], "E (eV)": [1.0, 2.0], "E (Ha)": [3.0, 4.0]}))
    assert table.task_names == ["E (eV)", "E (Ha)"]
    assert table.units == {"E (eV)": "eV", "E (Ha)": "Ha"}
    assert list(table.to_frame()) == ["smiles", "E (eV)", "E (Ha)"]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("bp (K)", ("bp", "K")),
        ("bp(K)", ("bp", "K")),
        ("x [log10(mol/L)]", ("x", "log10(mol/L)")),
        ("heat (kJ/mol, 298 K)", ("heat", "kJ/mol, 298 K")),
        ("f (a) (K)", ("f (a)", "K")),
        ("logS", ("logS", "")),
        ("(K)", ("(K)", "")),
        ("bp ()", ("bp ()", "")),
        ("bp K)", ("bp K)", "")),
        ("", ("", "")),
    ],
)
def test_split_unit(column, expected):
    assert split_unit(column) == expected


@pytest.mark.parametrize(
    ("options", "pieces"),
    [
        ({"smiles": "SMILES"}, ["'SMILES'", "Did you mean 'smiles'", "`smiles=`"]),
        ({"tasks": ["logs"]}, ["'logs'", "Did you mean 'logS'"]),
        ({"tasks": ["name"]}, ["'name'", "holds no number", "ethanol"]),
        ({"tasks": ["bp", "bp (K)"]}, ["same column twice"]),
        ({"tasks": ["bp", "bp"]}, ["once", "'bp'"]),
        ({"tasks": 5}, ["`tasks`"]),
        ({"on_error": "rais"}, ["`on_error`", "Did you mean 'raise'"]),
    ],
)
def test_misnamed_things(frame, options, pieces):
    with pytest.raises(InputError) as caught:
        read_molecules(frame, **options)
    for piece in pieces:
        assert piece in str(caught.value)


@pytest.mark.parametrize(
    ("content", "piece"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"smiles,a\n", "no rows"),
        (b"smiles,a,a\nC,1,2\n", "rename: 'a'"),
        (b"smiles;a\nC;1\n", "commas"),
        (b"smiles,a\nC,1,2\n", "Expected 2 fields"),
        (b"smiles,a\n\xff\xfe,1\n", "UTF-8"),
        (b"smiles,a\nCC(,1\n,2\n", "No row has a usable molecule"),
    ],
)
def test_files_that_cannot_be_used(content, piece, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=piece):
        read_molecules(tmp_path / "a.csv")


def test_other_files_that_cannot_be_used(frame, tmp_path):
    with pytest.raises(InputError, match="no file"):
        read_molecules(tmp_path / "nothing.csv")
    (tmp_path / "a.txt").write_text("smiles\nC\n")
    with pytest.raises(InputError, match=r"should end in \.csv"):
        read_molecules(tmp_path / "a.txt")
    packed = gzip.compress(b"smiles,a\n" + b"C,1\n" * 5000)
    (tmp_path / "torn.csv.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "plain.csv.gz").write_bytes(b"smiles,a\nC,1\n")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    for name in ("torn.csv.gz", "plain.csv.gz", "bad.parquet"):
        with pytest.raises(InputError, match="cannot be read"):
            read_molecules(tmp_path / name)
    with pytest.raises(InputError, match="path or a DataFrame"):
        read_molecules(["C"])
    doubled = frame.rename(columns={"bp (K)": "logS"})
    with pytest.raises(InputError, match="rename: 'logS'"):
        read_molecules(doubled)
    with pytest.raises(InputError, match="no rows"):
        read_molecules(frame.iloc[:0])


def test_csv_details(tmp_path):
    text = '\ufeffsmiles, a ,note\r\nC,1,"x, y"\r\n\r\nCC,2\r\n\r\n\r\n'
    (tmp_path / "a.csv").write_bytes(text.encode("utf-8"))
    table, _ = read_quietly(tmp_path / "a.csv")
    assert table.rows.tolist() == [0, 2]
    assert [item.row for item in table.rejected] == [1]
    assert table.task_names == ["a"]
    assert list(table.extra["note"]) == ["x, y", ""]


def test_repeated_molecules_are_noted_once_with_their_rows():
    data = pd.DataFrame({"smiles": ["CCO", "CC", "OCC", "C(O)C", "CC"], "a": [1.0, 2.0, 1.5, None, 2.0]})
    table = read_molecules(data)
    assert table.canonical == ("CCO", "CC", "CCO", "CCO", "CC")
    texts = [note.text for note in table.notes]
    assert texts == [
        "the same molecule occurs 3 times, rows 0, 2, 3; different labels for a",
        "the same molecule occurs 2 times, rows 1, 4",
    ]


@FEW
@given(
    st.lists(st.sampled_from(["CCO", "OCC", "CC(", "", "c1ccccc1", "*", "[Na+].[Cl-]", "C#N"]), min_size=1)
)
def test_every_row_is_kept_or_rejected_in_order(smiles):
    data = pd.DataFrame({"smiles": pd.Series(smiles, dtype=object), "a": np.arange(len(smiles)) * 1.0})
    good = [i for i, text in enumerate(smiles) if text not in ("CC(", "", "*")]
    if not good:
        with pytest.raises(InputError):
            read_quietly(data)
        return
    table, _ = read_quietly(data)
    assert table.rows.tolist() == good
    assert [item.row for item in table.rejected] == sorted(set(range(len(smiles))) - set(good))
    assert_array(table.Y[:, 0], np.array(good, dtype=float))


# ---------------------------------------------------------------- the table


def test_a_table_is_frozen_and_owns_its_arrays():
    Y = np.array([[1.0], [2.0]])
    table = table_of(["C", "CC"], Y)
    Y[0, 0] = 99.0
    assert table.Y[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        table.Y[0, 0] = 5.0
    with pytest.raises(AttributeError):
        table.smiles = ("C",)


@pytest.mark.parametrize(
    ("parts", "piece"),
    [
        ({"smiles": "CC"}, r"\['CC'\]"),
        ({"Y": [[1.0]]}, "`Y` must have shape"),
        ({"Y": [[1.0], [np.inf]]}, "infinite in row 1"),
        ({"Y": [["a"], ["b"]]}, "`Y` must hold numbers"),
        ({"tasks": ("a",)}, "Task"),
        ({"Y": [[1.0, 2.0]] * 2, "tasks": (Task("a"), Task("a"))}, "task name"),
        ({"rows": [1]}, "`rows` must have shape"),
        ({"canonical": ("C",)}, "`canonical` 1"),
        ({"extra": pd.DataFrame({"x": [1]})}, "`extra` 1"),
        ({"extra": [1, 2]}, "`extra` must be a DataFrame"),
        ({"smiles": ("C", "CC(")}, "row 1"),
    ],
)
def test_a_table_checks_its_parts(parts, piece):
    whole = {"smiles": ("C", "CC"), "Y": [[1.0], [2.0]], "tasks": (Task("a"),)}
    with pytest.raises(InputError, match=piece):
        MoleculeTable(**{**whole, **parts})


def test_selecting_rows_and_tasks(frame):
    table = read_molecules(frame)
    part = table.select([3, 0])
    assert part.smiles == ("[Na+].[Cl-]", "CCO")
    assert part.rows.tolist() == [3, 0]
    assert [note.row for note in part.notes] == [3]
    assert list(part.extra["name"]) == ["salt", "ethanol"]
    assert list(part.extra.index) == [0, 1]
    assert table.select([1]).notes == ()
    assert table.select(table.mask[:, 0]).rows.tolist() == [0, 1, 3]
    assert table.select([]).n == 0
    assert table.only(["bp"]).tasks == (Task("bp", "K"),)
    assert_array(table.only(["bp", "logS"]).Y, table.Y[:, ::-1])
    for wrong in ([4], [-1], [0.5], [[0]]):
        with pytest.raises(InputError, match="`rows`"):
            table.select(wrong)
    with pytest.raises(InputError, match="Did you mean 'logS'"):
        table.only(["logs"])


def test_notes_on_repeats_are_about_the_rows_selected():
    smiles = ["CO", "OC", "C(O)", "CC", "CC.CC"]
    table = read_molecules(pd.DataFrame({"smiles": smiles, "a": [1.0, 2.0, 2.0, 3.0, 4.0], "b": [5.0] * 5}))
    salt = Note(4, "CC.CC", "2 separate parts (salt or mixture) kept as one graph")
    repeated = "the same molecule occurs"
    assert table.notes == (Note(0, "CO", f"{repeated} 3 times, rows 0, 1, 2; different labels for a"), salt)
    assert table.select([1, 2]).notes == (Note(1, "OC", f"{repeated} 2 times, rows 1, 2"),)
    assert table.select([4, 2, 0]).notes == (
        Note(0, "CO", f"{repeated} 2 times, rows 0, 2; different labels for a"),
        salt,
    )
    assert table.select([0, 3]).notes == ()
    assert table.select([0, 1, 2]).select([0]).notes == ()
    assert table.select(range(5)).notes == table.notes
    assert table.only("b").notes == (Note(0, "CO", f"{repeated} 3 times, rows 0, 1, 2"), salt)


def test_selecting_keeps_the_callers_positions():
    table, _ = read_quietly(
        pd.DataFrame({"smiles": ["CC(", "C", "[Na+].[Cl-]", "CC"], "a": [1.0, 2.0, 3.0, 4.0]})
    )
    part = table.select([1])
    assert part.rows.tolist() == [2]
    assert [note.row for note in part.notes] == [2]
    assert part.select([0]).rows.tolist() == [2]


def test_summary_by_hand():
    table = table_of(["C", "CC", "CCC"], [[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    summary = table.summary()
    assert summary["labels"].tolist() == [2, 0]
    assert_array(
        summary.loc["t0", ["mean", "std", "min", "max"]].to_numpy(float), [2.0, np.sqrt(2.0), 1.0, 3.0]
    )
    assert np.isnan(summary.loc["t1", "mean"])


def test_html_is_escaped_and_short():
    evil = "<img src=x onerror=alert(1)>"
    table = read_molecules(pd.DataFrame({"smiles": ["C", "CC"], f"{evil} (<b>K</b>)": [1.0, 2.0]}))
    page = table._repr_html_()
    assert table.task_names == [evil]
    assert "<img" not in page
    assert "<b>" not in page
    assert "&lt;img" in page
    wide = table_of(["C", "CC"], np.zeros((2, 300)))
    assert len(wide._repr_html_()) < 10_000
    assert len(repr(wide)) < 200


def test_columns_that_share_a_name_survive_to_frame():
    data = pd.DataFrame({"structure": ["C", "CC"], "smiles": ["x", "y"], "a": [1.0, 2.0]})
    table = read_molecules(data, smiles="structure")
    assert list(table.to_frame()) == ["smiles", "a", "smiles_extra"]


# ---------------------------------------------------------------- as_table


def test_smiles_in_any_form():
    texts = ["CCO", "c1ccccc1"]
    for given_as in (texts, tuple(texts), pd.Series(texts, index=[5, 6]), np.array(texts), iter(texts)):
        table = as_table(given_as)
        assert table.smiles == tuple(texts)
        assert table.t == 0
    assert as_table(table) is table


def test_smiles_from_frames_files_and_with_gaps(frame, tmp_path):
    frame.to_csv(tmp_path / "a.csv", index=False)
    for source in (frame, tmp_path / "a.csv", str(tmp_path / "a.csv")):
        assert as_table(source).task_names == ["logS", "bp"]
        assert as_table(source, tasks=[]).t == 0
    with pytest.warns(RowsWarning):
        table = as_table(["CCO", None, "CC("])
    assert (table.rows.tolist(), [item.row for item in table.rejected]) == ([0], [1, 2])
    with pytest.raises(InputError, match="2 problems"):
        as_table(["CCO", None, "CC("], on_error="raise")


@pytest.mark.parametrize(
    ("wrong", "piece"),
    [
        ("CCO", r"\['CCO'\]"),
        (b"CCO", "list"),
        ([], "empty"),
        (5, "int"),
        (None, "NoneType"),
        ({"a": 1}, "dict"),
    ],
)
def test_no_smiles_at_all(wrong, piece):
    with pytest.raises(InputError, match=piece):
        as_table(wrong)


@pytest.mark.parametrize("text", ["CCO", b"CCO"])
def test_one_text_is_not_read_letter_by_letter(text):
    with pytest.raises(InputError, match=r"several SMILES; got one text. Write \[b?'CCO'\]"):
        canonical_smiles(text)
    with pytest.raises(InputError, match="got one text"):
        MoleculeTable(text, np.zeros((3, 1)), (Task("a"),))


def test_a_table_without_a_smiles_column():
    with pytest.raises(InputError, match="no column 'smiles'"):
        as_table(pd.DataFrame({"molecule": ["C"], "a": [1.0]}))


# ---------------------------------------------------------------- sparsify


@FEW
@given(
    n=st.integers(1, 40),
    filled=st.floats(0.0, 1.0),
    keep=st.floats(0.01, 1.0),
    seed=st.integers(0, 1000),
)
def test_sparsify_keeps_exactly_the_share(n, filled, keep, seed):
    rng = np.random.default_rng(seed)
    Y = np.where(rng.random((n, 3)) < filled, rng.normal(size=(n, 3)), np.nan)
    table = table_of(CHAINS[:n], Y)
    thin = sparsify(table, keep, seed=seed)
    counts = table.mask.sum(axis=0)
    expected = [0 if count == 0 else max(1, round(keep * count)) for count in counts]
    assert thin.mask.sum(axis=0).tolist() == expected
    assert not (thin.mask & ~table.mask).any()
    assert_array(thin.Y[thin.mask], table.Y[thin.mask])
    assert_array(table.Y, Y)
    assert_array(sparsify(table, keep, seed=seed).Y, thin.Y)
    assert not (thin.mask & ~sparsify(table, min(1.0, 2 * keep), seed=seed).mask).any()


def test_sparsify_per_task_and_independence():
    table = table_of(CHAINS[:40], np.arange(80.0).reshape(40, 2))
    thin = sparsify(table, [0.5, 0.25], seed=1)
    assert thin.mask.sum(axis=0).tolist() == [20, 10]
    named = sparsify(table, {"t1": 0.25}, seed=1)
    assert named.mask[:, 0].all()
    assert_array(named.Y[:, 1], thin.Y[:, 1])
    assert (sparsify(table, 0.5, seed=1).mask[:, 0] != sparsify(table, 0.5, seed=1).mask[:, 1]).any()
    assert (sparsify(table, 0.5, seed=1).mask != sparsify(table, 0.5, seed=2).mask).any()


@pytest.mark.parametrize(
    "keep", [0, 0.0, -0.1, 1.1, 30, float("nan"), True, "half", [0.5], [0.5, 0.5, 0.5], {"x": 0.5}]
)
def test_sparsify_refuses(keep):
    table = table_of(CHAINS[:4], np.zeros((4, 2)))
    with pytest.raises(InputError):
        sparsify(table, keep, seed=0)


def test_sparsify_needs_a_seed():
    table = table_of(CHAINS[:4])
    with pytest.raises(TypeError):
        sparsify(table, 0.5)
    with pytest.raises(InputError, match="`seed`"):
        sparsify(table, 0.5, seed=-1)


# ---------------------------------------------------------------- splits

RINGS = ["c1ccccc1", "C1CC1", "C1CCC1", "C1CCCC1", "c1ccoc1", "c1ccncc1", "c1ccsc1", "C1CCCCC1"]


def parts_of(split):
    return [split.train, split.valid, split.test]


@FEW
@given(
    picks=st.lists(st.integers(0, 59), min_size=12, max_size=80),
    seed=st.integers(0, 500),
    by=st.sampled_from(["random", "scaffold"]),
    fractions=st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.7, 0.0, 0.3), (1.0, 0.0, 0.0)]),
)
def test_splits_cover_and_keep_groups_together(picks, seed, by, fractions):
    pool = [f"{chain}{ring}" for chain in ("", "C", "CC", "CCC", "CCCC") for ring in RINGS] + CHAINS[4:24]
    smiles = [pool[i] for i in picks]
    table = MoleculeTable(tuple(smiles), np.empty((len(smiles), 0)), ())
    try:
        split = split_molecules(table, by=by, fractions=fractions, seed=seed)
    except InputError as error:
        assert "No molecule is left for" in str(error) or "different molecules" in str(error)
        return
    assert sorted(np.concatenate(parts_of(split)).tolist()) == list(range(table.n))
    for share, rows in zip(fractions, parts_of(split)):
        assert (rows.size > 0) == (share > 0)
        assert rows.tolist() == sorted(rows.tolist())
    key = table.canonical if by == "random" else [murcko_scaffold(text) for text in table.smiles]
    places = [{key[i] for i in rows} for rows in parts_of(split)]
    assert not places[0] & places[1]
    assert not places[0] & places[2]
    assert not places[1] & places[2]
    again = split_molecules(table, by=by, fractions=fractions, seed=seed)
    for one, other in zip(parts_of(split), parts_of(again)):
        assert_array(one, other)


def test_random_split_has_exact_sizes_and_depends_on_the_seed():
    table = table_of(CHAINS)
    split = split_molecules(table, fractions=(0.6, 0.2, 0.2), seed=3)
    assert [rows.size for rows in parts_of(split)] == [24, 8, 8]
    assert repr(split) == "Split: 24 train, 8 valid, 8 test"
    other = split_molecules(table, fractions=(0.6, 0.2, 0.2), seed=4)
    assert set(split.test.tolist()) != set(other.test.tolist())


def test_random_split_is_fair():
    """Every molecule is tested about equally often: 300 seeds, expected 30 times each, binomial spread 5.2."""
    table = table_of(CHAINS)
    counts = np.zeros(40)
    for seed in range(300):
        counts[split_molecules(table, seed=seed).test] += 1
    assert counts.sum() == 300 * 4
    assert counts.min() > 30 - 5 * 5.2
    assert counts.max() < 30 + 5 * 5.2


def test_the_largest_scaffolds_train():
    smiles = CHAINS[:20] + [f"{'C' * i}c1ccccc1" for i in range(10)] + RINGS[1:] + ["C1CCCCCC1", "C1CCCCCCC1"]
    table = table_of(smiles)
    for seed in range(5):
        split = split_molecules(table, by="scaffold", seed=seed, min_valid=1)
        assert set(range(30)) <= set(split.train.tolist())


@pytest.mark.parametrize(
    ("smiles", "scaffold"),
    [
        ("CCCC", ""),
        ("Cc1ccccc1", "c1ccccc1"),
        ("O=C1CCCCC1C", "O=C1CCCCC1"),
        ("c1ccccc1CCN1CCOCC1", "c1ccc(CCN2CCOCC2)cc1"),
        ("C[C@H]1CC[C@@H](c2ccccc2)O1", "c1ccc(C2CCCO2)cc1"),
    ],
)
def test_scaffolds_by_hand(smiles, scaffold):
    assert murcko_scaffold(smiles) == scaffold


def test_scaffolds_carry_no_atom_map_numbers():
    assert murcko_scaffold("[CH3:1][c:2]1[cH:3][cH:4][cH:5][cH:6][cH:7]1") == "c1ccccc1"
    assert murcko_scaffold("[CH2:1]1[CH2:2][CH:3]1[CH2:4][cH0]1ccccc1") == murcko_scaffold("C1CC1Cc1ccccc1")


def test_scaffold_of_a_scaffold_is_itself():
    for smiles in ("CC(C)c1ccc(cc1)C1CCNC1=O", "OC1CCC2(CC1)OCCO2", "Clc1ccc2[nH]ccc2c1CCl"):
        once = murcko_scaffold(smiles)
        assert once != ""
        assert murcko_scaffold(once) == once


def test_split_from_a_column():
    words = ["train"] * 5 + ["val", "Validation", " test ", "TEST", "train"]
    data = pd.DataFrame({"smiles": CHAINS[:10], "a": range(0, 20, 2), "split": words})
    table = read_molecules(data)
    split = split_molecules(table, by="column")
    assert [rows.tolist() for rows in parts_of(split)] == [[0, 1, 2, 3, 4, 9], [5, 6], [7, 8]]
    column = split.to_column(10)
    assert column.tolist() == ["train"] * 5 + ["valid"] * 2 + ["test"] * 2 + ["train"]
    renamed = read_molecules(data.assign(split=column).rename(columns={"split": "part"}))
    again = split_molecules(renamed, by="column", column="part")
    assert [rows.tolist() for rows in parts_of(again)] == [rows.tolist() for rows in parts_of(split)]


@pytest.mark.parametrize(
    ("words", "column", "pieces"),
    [
        (["train"] * 9 + ["tset"], "split", ["train, valid or test", "row 9: 'tset'"]),
        (["train"] * 9 + [None], "split", ["row 9: ''"]),
        (["train"] * 10, "spilt", ["Did you mean 'split'"]),
        (["test"] * 10, "split", ["training"]),
    ],
)
def test_split_columns_that_cannot_be_used(words, column, pieces):
    table = read_molecules(pd.DataFrame({"smiles": CHAINS[:10], "a": range(0, 20, 2), "split": words}))
    with pytest.raises(InputError) as caught:
        split_molecules(table, by="column", column=column)
    for piece in pieces:
        assert piece in str(caught.value)


def test_a_molecule_in_two_parts_is_named():
    data = pd.DataFrame(
        {"smiles": ["CCO", *CHAINS[2:9], "OCC"], "a": range(9), "split": ["train"] * 8 + ["test"]}
    )
    with pytest.raises(InputError, match=r"'CCO' in rows \[0, 8\]"):
        split_molecules(read_molecules(data), by="column")


def test_every_failing_task_is_named_with_counts_and_remedy():
    Y = np.full((40, 4), np.nan)
    Y[:, 0] = np.arange(40.0)
    Y[:4, 1] = np.arange(4.0)
    Y[:3, 2] = np.arange(3.0)
    Y[:, 3] = np.arange(40.0) == 0
    table = table_of(CHAINS, Y)
    with pytest.raises(InputError) as caught:
        split_molecules(table.only(["t0", "t1", "t2"]), seed=0, fractions=(0.9, 0.1, 0.0))
    text = str(caught.value)
    assert "task 't0'" not in text
    assert "task 't1' has " in text
    assert "task 't2' has " in text
    assert "training labels, needs 5" in text
    assert "table.only" in text
    seeds = [s for s in range(40) if 0 in split_molecules(table.only("t0"), seed=s).test]
    with pytest.raises(InputError, match="task 't3': all 32 training labels are 0"):
        split_molecules(table.only("t3"), seed=seeds[0])
    lenient = split_molecules(table.only(["t0", "t1"]), fractions=(1.0, 0.0, 0.0), min_train=4)
    assert lenient.train.size == 40


def test_validation_labels_are_needed_only_where_there_is_validation():
    Y = np.full((40, 1), np.nan)
    Y[:20, 0] = np.arange(20.0)
    table = table_of(
        CHAINS, Y, extra=pd.DataFrame({"split": ["train"] * 20 + ["valid"] * 10 + ["test"] * 10})
    )
    with pytest.raises(InputError, match="task 't0' has 0 validation labels, needs 2"):
        split_molecules(table, by="column")
    assert split_molecules(table, by="column", min_valid=0).valid.size == 10
    assert split_molecules(table, fractions=(0.8, 0.0, 0.2)).valid.size == 0


@pytest.mark.parametrize(
    ("Y", "piece"),
    [
        (np.full((40, 1), np.nan), "task 't0' has no labels"),
        (np.ones((40, 1)), r"task 't0' has one value only \(1, 40 labels\)"),
        (np.empty((40, 0)), "no task"),
    ],
)
def test_tasks_that_cannot_be_learned(Y, piece):
    table = table_of(CHAINS, Y)
    with pytest.raises(InputError, match=piece):
        check_tasks(table)
    if table.t:
        with pytest.raises(InputError, match=piece):
            split_molecules(table)


@pytest.mark.parametrize(
    ("smiles", "options", "piece"),
    [
        (["C"], {}, "at least 3 different molecules; the table has 1"),
        (["C"], {"fractions": (1, 0, 0)}, "at least 2 different"),
        (["CCO", "OCC", "C(O)C"], {}, "the table has 1"),
        (["C", "CC"], {}, "at least 3"),
        (CHAINS, {"by": "scaffold"}, "No molecule is left for valid and test: 40 rows with 1 scaffolds"),
        (CHAINS, {"by": "scafold"}, "Did you mean 'scaffold'"),
        (CHAINS, {"fractions": (0.8, 0.2)}, "three numbers"),
        (CHAINS, {"fractions": 0.8}, "three numbers"),
        (CHAINS, {"fractions": (0.8, 0.3, 0.1)}, "sum to 1"),
        (CHAINS, {"fractions": (1.2, -0.1, -0.1)}, "`fractions`"),
        (CHAINS, {"seed": -1}, "`seed`"),
        (CHAINS, {"seed": 1.5}, "`seed`"),
        (CHAINS, {"fractions": (0, 0.5, 0.5)}, "left for training"),
    ],
)
def test_splits_that_cannot_be_made(smiles, options, piece):
    with pytest.raises(InputError, match=piece):
        split_molecules(table_of(smiles), **options)


def test_three_molecules_make_the_smallest_split():
    split = split_molecules(table_of(["C", "CC", "CCC"]), min_train=1, min_valid=1)
    assert [rows.size for rows in parts_of(split)] == [1, 1, 1]


def test_a_split_checks_itself():
    split = Split([2, 0], [1], [])
    assert split.train.tolist() == [0, 2]
    with pytest.raises(ValueError, match="read-only"):
        split.train[0] = 9
    for wrong in (([0, 1], [1], []), ([-1], [], []), ([0, 0], [], []), ([0.5], [], [])):
        with pytest.raises(InputError):
            Split(*wrong)
    with pytest.raises(InputError, match="another table"):
        split.to_column(2)
    with pytest.raises(InputError, match="another table"):
        split.summary(table_of(["C", "CC"]))
    assert split.to_column(4).tolist() == ["train", "valid", "train", ""]


def test_split_summary_counts_labels():
    Y = np.array([[1.0, np.nan], [2.0, 5.0], [np.nan, 6.0], [4.0, np.nan]])
    summary = Split([0, 1], [2], [3]).summary(table_of(CHAINS[:4], Y))
    assert summary.to_dict("index") == {
        "t0": {"train": 2, "valid": 0, "test": 1},
        "t1": {"train": 1, "valid": 1, "test": 0},
    }


@pytest.mark.parametrize("cell", ["0,5", "<5", "10 %", "1,234.5", "~3", "0.5 ± 0.1"])
def test_columns_meant_as_numbers_are_not_left_out_silently(cell):
    frame = pd.DataFrame(
        {"smiles": ["CCO", "CCC", "CC"], "logP": [cell] * 3, "bp (K)": [351, 231, 184], "name": "abc"}
    )
    with pytest.warns(
        RowsWarning, match=f"column 'logP' is not read as a task.*row 0: {re.escape(repr(cell))}"
    ):
        table = read_molecules(frame)
    assert table.task_names == ["bp"] and "logP" in table.extra
    with pytest.raises(InputError, match="column 'logP'"):
        read_molecules(frame, on_error="raise")


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("id", [7, 3, 12]),
        ("PubChem CID", [702, 6334, 6341]),
        ("mol_id", [1, 2, 3]),
        ("compoundID", [5, 4, 9]),
    ],
)
def test_a_column_that_numbers_the_rows_is_named(name, numbers):
    frame = pd.DataFrame({"smiles": ["CCO", "CCC", "CC"], name: numbers, "bp (K)": [351, 231, 184]})
    message = rf"column {name!r} is read as a task, but looks like .*name in `tasks=` those that are: 'bp \(K\)'; if"
    with pytest.warns(RowsWarning, match=f"(?s){message}"):
        table = read_molecules(frame)
    assert table.task_names == [name, "bp"]
    with pytest.raises(InputError, match=f"column {name!r}"):
        read_molecules(frame, on_error="raise")
    assert read_molecules(frame, tasks=[name, "bp"], on_error="raise").task_names == [name, "bp"]


def test_running_numbers_without_a_telling_name():
    frame = pd.DataFrame({"smiles": ["C" * i for i in range(1, 11)], "entry": range(100, 110)})
    with pytest.warns(RowsWarning, match="column 'entry'"):
        read_molecules(frame)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("id", [7, 7, 12]),  # two the same
        ("id", [7, np.nan, 12]),  # not every row
        ("id", [7, 8.5, 12]),  # no whole number
        ("acid", [7, 8, 12]),
        ("liquid", [7, 8, 12]),
        ("octane number", [91, 95, 98]),
        ("bp (K)", [351, 231, 184]),
    ],
)
def test_properties_are_not_taken_for_numbers_of_rows(name, numbers, recwarn):
    read_molecules(pd.DataFrame({"smiles": ["CCO", "CCC", "CC"], name: numbers}), on_error="raise")
    assert not recwarn.list


def test_a_decimal_comma_is_named():
    frame = pd.DataFrame({"smiles": ["CCO"], "logP": ["0,5"]})
    with pytest.raises(InputError, match="is the comma a decimal point"):
        read_molecules(frame, tasks=["logP"])


def test_a_column_is_a_task_from_one_half_of_numbers_on():
    frame = pd.DataFrame(
        {"smiles": ["C", "CC", "CCC", "CCCC"], "half": [1, 2, "<3", "<4"], "less": [1, "<2", "<3", "<4"]}
    )
    with pytest.warns(
        RowsWarning, match="column 'less' is not read as a task: 3 of 4 filled cells are no numbers"
    ):
        assert read_molecules(frame).task_names == ["half"]


def test_text_with_a_few_numbers_is_left_out_without_a_word(recwarn):
    frame = pd.DataFrame(
        {"smiles": ["C", "CC", "CCC", "CCCC", "CO"], "y": range(5), "note": ["7", "<3", "a", "b", "c"]}
    )
    assert read_molecules(frame).task_names == ["y"] and not recwarn


def test_text_columns_are_left_out_without_a_word(recwarn):
    frame = pd.DataFrame(
        {"smiles": ["CCO", "CC"], "y": [1, 2], "name": ["2-propanol", "50-00-0"], "id": ["x1", "x7"]}
    )
    assert read_molecules(frame).task_names == ["y"] and not recwarn


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"SMILES;logP;bp\nCCO;0,5;351,4\n", "separated by ';', not by commas"),
        (b"smiles;logP\nCCO;1\n", "separated by ';', not by commas"),
        (b"smiles\tlogP\nCCO\t1\n", "separated by '.t', not by commas"),
        (b"\n\nsmiles,a\nCCO,1\n", "starts with a blank line"),
        (b"", "is empty"),
        ("smiles,Tm (°C)\nCCO,1\n".encode("latin-1"), "not UTF-8"),
        ("smiles,a\nCCO,1\n".encode("utf-16"), "not UTF-8"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_spreadsheet_exports_are_told_how_to_be_mended(tmp_path, content, said, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(InputError, match=said):
        read_molecules(path)


def test_splits_and_tables_are_told_apart():
    table = read_molecules(pd.DataFrame({"smiles": ["C" * (i + 1) for i in range(30)], "y": range(0, 60, 2)}))
    split = split_molecules(table)
    for wrong in (lambda: split_molecules("t.csv"), lambda: sparsify(pd.DataFrame(), 0.5, seed=0)):
        with pytest.raises(InputError, match="wanted a MoleculeTable"):
            wrong()
    with pytest.raises(InputError, match="belongs to another table"):
        check_split(table.select(range(5)), split)
    with pytest.raises(InputError, match="MoleculeTable and NoneType"):
        check_split(table, None)
