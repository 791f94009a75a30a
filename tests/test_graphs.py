"""The packed store against graphs made one by one, and against torch-geometric."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from torch_geometric.data import Data

from fusionbook.core import InputError
from fusionbook.dmpnn import DMPNN, bond_messages
from fusionbook.graphs import atom_facts, atom_features, flat_ranges, from_pyg, pack_graphs, to_pyg

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
