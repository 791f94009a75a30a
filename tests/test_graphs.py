"""The packed store against graphs made one by one, and against torch-geometric."""

import multiprocessing
import re
import time
import warnings
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from torch_geometric.data import Data

from fusionbook import graphs
from fusionbook.core import InputError
from fusionbook.dmpnn import DMPNN, bond_messages
from fusionbook.graphs import (
    D_E,
    D_V,
    GraphStore,
    atom_facts,
    atom_features,
    bond_facts,
    bond_features,
    flat_ranges,
    from_pyg,
    pack_graphs,
    read_graphs,
    to_pyg,
)
from fusionbook.molecules import parse_smiles

SMILES = [
    "CCO",
    "C",
    "c1ccncc1",
    "C[N+](C)(C)C",
    "F/C=C/F",
    "[Na+].[Cl-]",
    "C#N",
    "[2H]C([2H])[2H]",
    "OS(=O)(=O)O",
    "CC(C)(C)C",
]


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=8), data=st.data())
def test_flat_ranges_equal_a_loop(counts, data):
    rows = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=10))
    offsets = torch.tensor([0, *np.cumsum(counts)])
    places, sizes = flat_ranges(offsets, torch.tensor(rows, dtype=torch.int64))
    expected = [place for row in rows for place in range(int(offsets[row]), int(offsets[row + 1]))]
    assert places.tolist() == expected
    assert sizes.tolist() == [counts[row] for row in rows]


@settings(max_examples=30)
@given(rows=st.lists(st.integers(0, len(SMILES) - 1), min_size=1, max_size=12))
def test_a_batch_holds_the_asked_molecules_in_order(rows):
    batch = pack_graphs(SMILES).batch(rows)
    atoms = [
        atom_features(atom_facts(atom)) for row in rows for atom in Chem.MolFromSmiles(SMILES[row]).GetAtoms()
    ]
    np.testing.assert_allclose(batch.V, np.array(atoms), strict=True)
    assert (batch.molecule[batch.edge_index[0]] == batch.molecule[batch.edge_index[1]]).all()
    assert torch.equal(batch.edge_index[:, batch.rev_edge_index], batch.edge_index.flip(0))


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=20)
def test_messages_are_linear_and_see_no_reverse_bond(seed):
    rng = torch.Generator().manual_seed(seed)
    batch = pack_graphs(SMILES).batch(range(len(SMILES)))
    n_bonds, n_atoms = batch.edge_index.shape[1], len(batch.atom_type)
    H, G = torch.randn(2, n_bonds, 3, generator=rng)
    both = bond_messages(H + 2 * G, batch.edge_index, n_atoms)
    parts = bond_messages(H, batch.edge_index, n_atoms) + 2 * bond_messages(G, batch.edge_index, n_atoms)
    torch.testing.assert_close(both, parts, rtol=1e-4, atol=1e-5)
    j = int(torch.randint(n_bonds, (1,), generator=rng))
    changed = H.clone()
    changed[j] += 1
    difference = bond_messages(changed, batch.edge_index, n_atoms) - bond_messages(
        H, batch.edge_index, n_atoms
    )
    assert difference[j ^ 1].abs().max() < 1e-6


def test_atom_order_does_not_matter():
    mol = Chem.MolFromSmiles("O=C(O)c1ccccc1NC(C)=O")
    rng = np.random.default_rng(0)
    spellings = [
        Chem.MolToSmiles(mol, rootedAtAtom=int(i), canonical=False)
        for i in rng.permutation(mol.GetNumAtoms())
    ]
    torch.manual_seed(0)
    Z = DMPNN(d_h=32, depth=5)(pack_graphs(spellings).batch(range(len(spellings))))
    torch.testing.assert_close(Z, Z[:1].expand_as(Z), rtol=1e-4, atol=1e-6)


def test_torch_geometric_round_trip_gives_the_same_embeddings():
    store = pack_graphs(SMILES)
    graphs = to_pyg(store.batch(range(len(SMILES)))).to_data_list()
    rng = np.random.default_rng(0)
    for graph in graphs:
        order = torch.as_tensor(rng.permutation(graph.edge_index.shape[1]))
        graph.edge_index = graph.edge_index[:, order]
        graph.edge_attr = graph.edge_attr[order]
    again = from_pyg(graphs)
    encoder = DMPNN(d_h=16)
    rows = range(len(SMILES))
    torch.testing.assert_close(encoder(again.batch(rows)), encoder(store.batch(rows)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("edges", "attributes", "message"),
    [
        ([[0], [1]], 1, "reverse"),
        ([[0, 1], [1, 1]], 2, "reverse|itself"),
        ([[0, 1], [1, 0]], None, "needed"),
        ([[0, 1], [1, 0]], 3, "shape"),
    ],
)
def test_foreign_graphs_that_cannot_be_used(edges, attributes, message):
    attr = None if attributes is None else torch.ones(attributes, 2)
    with pytest.raises(InputError, match=message):
        from_pyg([Data(x=torch.eye(2), edge_index=torch.tensor(edges), edge_attr=attr)])


def test_memory_a_molecule_is_small():
    smiles = ["C" * k + "O" for k in range(1, 200)]
    store = pack_graphs(smiles)
    assert store.nbytes / len(store.atom_type) < 40


REFERENCE = Path(__file__).parent / "oracles" / "chemprop_reference.npz"
ODD = [
    "[CH3:7]O",  # atom-map number: not cut apart
    "C" * 500,  # too long to be cut apart
    "C" * 255,
    "C" * 256,
    "[H][H]",
    "[2H]O[2H]",
    "[H+]",
    "[Fe+2]",
    "[13C@H](F)(Cl)[14CH3]",
    "[CH2]C[O]",
    "N->[Pt](Cl)(Cl)<-N",
    "F[S](F)(F)(F)(F)F",
    "C[S@](=O)c1ccccc1",
    "C/C=C\\C=C/C",
    "C[N+](=O)[O-]",
    "O=Cl(=O)(=O)O",
    "[O-]S(=O)(=O)[O-].[Na+].[Na+]",
    "C1CC2CC1CC2",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "[Si]1O[Si]O1",
    "C12C3C4C1C5C2C3C45",
    "CCO some name",
    "  CC  ",
    "[U+6]",
    "[3H]C",
    "[18F-]",
]


def kinds_of_molecules():
    """Every kind that the reference file holds, and odd ones."""
    with np.load(REFERENCE, allow_pickle=False) as arrays:
        return [*arrays["smiles"].tolist(), *ODD]


def twin(smiles):
    """The store made by asking RDKit atom by atom, bond by bond."""
    types, numbers = {"atom": {}, "bond": {}}, {"atom": [], "bond": []}
    edges, n_atoms, n_bonds = [], [0], [0]
    for text in smiles:
        mol = parse_smiles(text)[0]
        for atom in mol.GetAtoms():
            numbers["atom"].append(types["atom"].setdefault(atom_facts(atom), len(types["atom"])))
        for bond in mol.GetBonds():
            kind = types["bond"].setdefault(bond_facts(bond), len(types["bond"]))
            numbers["bond"] += [kind, kind]
            begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            edges += [(begin, end), (end, begin)]
        n_atoms.append(n_atoms[-1] + mol.GetNumAtoms())
        n_bonds.append(n_bonds[-1] + 2 * mol.GetNumBonds())
    V = np.array([atom_features(facts) for facts in types["atom"]], dtype=np.float32).reshape(-1, D_V)
    E = np.array([bond_features(facts) for facts in types["bond"]], dtype=np.float32).reshape(-1, D_E)
    edge_index = torch.tensor(edges, dtype=torch.int32).reshape(-1, 2).T
    kinds = [torch.tensor(numbers[name], dtype=torch.int32) for name in ("atom", "bond")]
    offsets = [torch.tensor(values) for values in (n_atoms, n_bonds)]
    return GraphStore(torch.from_numpy(V), torch.from_numpy(E), *kinds, edge_index, *offsets)


def assert_same_store(one, other):
    for field in fields(GraphStore):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert a.dtype == b.dtype and torch.equal(a, b), field.name


def test_the_fast_way_gives_the_store_of_the_slow_way():
    smiles = kinds_of_molecules()
    store, rows, rejected = read_graphs(smiles)
    assert rejected == () and rows.tolist() == list(range(len(smiles)))
    assert_same_store(store, twin(smiles))
    order = np.random.default_rng(0).permutation(len(smiles))
    mixed = [smiles[i] for i in order]
    assert_same_store(read_graphs(mixed)[0], twin(mixed))


def test_most_molecules_take_the_fast_way(monkeypatch):
    asked = []
    slow = graphs._piece_by_calls
    monkeypatch.setattr(graphs, "_piece_by_calls", lambda mols: asked.extend(mols) or slow(mols))
    smiles = kinds_of_molecules()
    read_graphs(smiles)
    big = sum(parse_smiles(text)[0].GetNumAtoms() > 255 for text in smiles)
    odd = sum(bool(re.search(r":\d+\]|\s", text)) for text in smiles)
    assert 0 < len(asked) <= big + odd + 2


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_pieces_do_not_change_the_store(monkeypatch, piece):
    smiles = kinds_of_molecules()
    monkeypatch.setattr(graphs, "PIECE", piece)
    assert_same_store(read_graphs(smiles)[0], twin(smiles))


def test_two_processes_give_the_same_store():
    smiles = [*kinds_of_molecules(), "C1CC", "", "*C"]
    serial, parallel = read_graphs(smiles, n_jobs=1), read_graphs(smiles, n_jobs=2)
    assert_same_store(serial[0], parallel[0])
    assert serial[1].tolist() == parallel[1].tolist()
    assert serial[2] == parallel[2] and len(serial[2]) == 3


@pytest.mark.parametrize("damage", ["format", "ends", "records", "rings"])
def test_another_layout_of_the_bytes_is_noticed(monkeypatch, damage):
    """RDKit's bytes could change: then everything is asked atom by atom, and the store stays right."""
    cut = graphs._cut

    def broken(data):
        found = cut(data)
        if found is None:
            return None
        atoms, ends, bonds, rings = found
        if damage == "records":
            atoms = [b"the same"] * len(atoms)
        elif damage == "ends" and len(ends) > 2:
            ends = ends[2:] + ends[:2]
        return atoms, ends, bonds, rings

    class Ringless:
        """A molecule whose bytes list no rings."""

        def __init__(self, mol):
            self.mol = mol

        def ToBinary(self, flags):
            head, found, _ = self.mol.ToBinary(flags).rpartition(b"\x42\x01\x00\x00\x00")
            return head + b"\x42\x00\x00\x00\x00\x17" if found else self.mol.ToBinary(flags)

    monkeypatch.setattr(graphs, "_KNOWN", {})
    if damage == "format":
        monkeypatch.setattr(graphs, "_FORMAT", 17)
    if damage == "rings":
        quick = graphs._quick_mol
        monkeypatch.setattr(graphs, "_quick_mol", lambda text: Ringless(quick(text)))
    monkeypatch.setattr(graphs, "_cut", broken)
    smiles = SMILES * 3 + ["C1CCCCC1C", "CCC"]
    assert_same_store(read_graphs(smiles)[0], twin(smiles))


@pytest.mark.parametrize(
    "bad", [None, 3.5, "", "  ", "C1CC", "*", "[*]C", "[#0]", "C~C", "\ud800", "C(C)(C)(C)(C)C"]
)
def test_unreadable_rows_are_set_aside_with_the_reason(bad):
    store, rows, rejected = read_graphs(["CCO", bad, "C"])
    assert rows.tolist() == [0, 2] and len(store) == 2
    assert rejected[0].row == 1 and rejected[0].reason == parse_smiles(bad)[1]
    assert_same_store(store, twin(["CCO", "C"]))


def test_no_readable_row_gives_an_empty_store():
    store, rows, rejected = read_graphs(["C1CC"])
    assert len(store) == 0 and len(rows) == 0 and len(rejected) == 1
    assert len(read_graphs([])[0]) == 0


def test_pack_graphs_names_the_first_bad_row():
    with pytest.raises(InputError, match="row 1: 'C1CC'"):
        pack_graphs(["C", "C1CC", "C1CC"])


def test_the_copy_on_disk_is_read_and_belongs_to_its_molecules(tmp_path, monkeypatch):
    graphs._pack.cache_clear()
    made = pack_graphs(SMILES, cache=tmp_path)
    graphs._pack.cache_clear()
    monkeypatch.setattr(graphs, "read_graphs", None)  # would fail if it were called
    assert_same_store(pack_graphs(SMILES, cache=str(tmp_path)), made)
    graphs._pack.cache_clear()
    monkeypatch.setattr(graphs, "FEATURES_VERSION", 2)
    with pytest.raises(TypeError):
        pack_graphs(SMILES, cache=tmp_path)
    monkeypatch.undo()
    for other in (SMILES[::-1], SMILES[:-1], ["".join(SMILES)]):
        assert graphs._graph_file(tmp_path, other) != graphs._graph_file(tmp_path, SMILES)


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "foreign"])
def test_a_damaged_copy_is_told_and_made_anew(tmp_path, damage):
    graphs._pack.cache_clear()
    made = pack_graphs(SMILES, cache=tmp_path)
    [file] = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(
        {"truncated": content[:100], "one bit": content, "empty": b"", "foreign": b"x" * 99}[damage]
    )
    graphs._pack.cache_clear()
    with pytest.warns(UserWarning, match="damaged"):
        assert_same_store(pack_graphs(SMILES, cache=tmp_path), made)
    graphs._pack.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same_store(pack_graphs(SMILES, cache=tmp_path), made)
    graphs._pack.cache_clear()


def test_a_folder_that_cannot_be_written_costs_the_copy_only(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    graphs._pack.cache_clear()
    with pytest.warns(UserWarning, match="could not be kept"):
        assert len(pack_graphs(["CCO"], cache=blocked / "graphs")) == 1
    graphs._pack.cache_clear()


def _write_again_and_again(folder, smiles, seconds):
    stop = time.monotonic() + seconds
    store = read_graphs(smiles)[0]
    while time.monotonic() < stop:
        graphs._save_graphs(Path(folder), smiles, store)


def test_two_writers_and_a_reader(tmp_path):
    """A reader never sees half a file, and no temporary file is left."""
    smiles = tuple(f"{'C' * k}O" for k in range(1, 150))
    made = read_graphs(smiles)[0]
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_again_and_again, args=(tmp_path, smiles, 1.0)) for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for writer in writers:
            writer.start()
        seen = 0
        while any(writer.is_alive() for writer in writers):
            store = graphs._load_graphs(tmp_path, smiles)
            if store is not None:
                assert_same_store(store, made)
                seen += 1
        for writer in writers:
            writer.join()
    assert seen > 3
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert [file.suffix for file in tmp_path.iterdir()] == [".graphs"]


def test_the_users_cache_folder_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSIONBOOK_CACHE", str(tmp_path))
    graphs._pack.cache_clear()
    pack_graphs(["CCCO"], cache=True)
    graphs._pack.cache_clear()
    assert [file.suffix for file in (tmp_path / "graphs").iterdir()] == [".graphs"]


def test_one_text_is_not_three_molecules():
    for read in (pack_graphs, read_graphs):
        with pytest.raises(InputError, match="`smiles` must be several SMILES; got one text"):
            read("CCO")


def test_a_batch_by_a_mask():
    store = pack_graphs(["C", "CC", "CCC"])
    assert store.batch([False, True, True]).atom_type.tolist() == store.batch([1, 2]).atom_type.tolist()
    with pytest.raises(InputError, match="`rows` must have shape"):
        store.batch([True, False])
