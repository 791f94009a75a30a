"""Features, embeddings and predictions against Chemprop 2 with the same weights.

The reference file, its layout and the script that made it: tests/oracles/README.md. Chemprop is not needed here.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fusionbook.core import assert_array
from fusionbook.dmpnn import DMPNN, Head, Network
from fusionbook.graphs import pack_graphs

REFERENCE = Path(__file__).parent / "oracles" / "chemprop_reference.npz"
MODELS = ("shallow", "deep")
READOUTS = ("mean", "sum", "norm")


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def meta(reference):
    return json.loads(str(reference["meta"]))


@pytest.fixture(scope="module")
def store(reference):
    return pack_graphs(reference["smiles"].tolist())


def chemprop_twin(reference, meta, model, readout, dtype):
    """Our network with the reference weights, in evaluation mode."""
    size = meta["models"][model]
    encoder = DMPNN(d_h=size["d_h"], depth=size["depth"], readout=readout)
    head = Head(size["d_h"], meta["n_tasks"], width=size["d_h"], layers=1)
    weights = {
        name.removeprefix(f"{model}."): torch.from_numpy(value)
        for name, value in reference.items()
        if name.startswith(f"{model}.") and name.endswith((".weight", ".bias"))
    }
    encoder.load_state_dict({name: value for name, value in weights.items() if name.startswith("W_")})
    head.load_state_dict(
        {
            "hidden_layers.0.weight": weights["ffn.0.weight"],
            "hidden_layers.0.bias": weights["ffn.0.bias"],
            "output.weight": weights["ffn.1.weight"],
            "output.bias": weights["ffn.1.bias"],
        }
    )
    return Network(encoder, head).to(dtype).eval()


def evaluate(network, batch, dtype):
    """Embeddings and predictions as float64 arrays, computed in `dtype`."""
    batch = replace(batch, V_types=batch.V_types.to(dtype), E_types=batch.E_types.to(dtype))
    with torch.no_grad():
        Z = network.encoder(batch)
        return Z.double().numpy(), network.head(Z).double().numpy()


def row_error(actual, expected):
    """Largest difference in each row, relative to the row's largest entry."""
    assert actual.shape == expected.shape
    return (np.abs(actual - expected).max(axis=1) / np.abs(expected).max(axis=1)).max()


def test_the_reference_is_what_its_readme_says(reference, meta):
    """The comparison below would prove little on a narrow or silent reference."""
    assert meta["versions"]["chemprop"] == "2.3.1"
    assert len(set(reference["smiles"].tolist())) == 200
    assert len(set(reference["kind"].tolist())) == 18
    assert reference["n_atoms"].min() == 1
    assert reference["n_atoms"].max() > 100
    assert (reference["V"].sum(axis=0) > 0).sum() == 71  # of 72; RDKit never gives the chiral tag "other"
    for model in MODELS:
        Z = reference[f"{model}.mean.embedding"]
        assert np.linalg.matrix_rank(Z) == Z.shape[1]
        assert 0.1 < (Z == 0).mean() < 0.9
        assert reference[f"{model}.mean.prediction"].std(axis=0).min() > 0.3


def test_graphs_are_chemprops(reference, store):
    """Atoms, bonds, their order and every feature of all 200 molecules."""
    n_atoms, n_bonds = reference["n_atoms"], reference["n_directed_bonds"]
    assert_array(store.n_atoms, n_atoms, rtol=0, atol=0)
    assert_array(store.bond_offsets.diff().numpy(), n_bonds, rtol=0, atol=0)
    batch = store.batch(range(len(n_atoms)))
    first_atom = np.repeat(np.cumsum(n_atoms) - n_atoms, n_bonds)
    first_bond = np.repeat(np.cumsum(n_bonds) - n_bonds, n_bonds)
    assert_array(batch.V.numpy(), reference["V"], rtol=0, atol=0)
    assert_array(batch.E.numpy(), reference["E"], rtol=0, atol=0)
    assert_array(batch.edge_index.numpy(), reference["edge_index"] + first_atom, rtol=0, atol=0)
    assert_array(batch.rev_edge_index.numpy(), reference["rev_edge_index"] + first_bond, rtol=0, atol=0)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("model", MODELS)
def test_float64_agrees_entry_by_entry(reference, meta, store, model, readout):
    network = chemprop_twin(reference, meta, model, readout, torch.float64)
    Z, Y_hat = evaluate(network, store.batch(range(len(store))), torch.float64)
    assert_array(Z, reference[f"{model}.{readout}.embedding"], rtol=1e-9, atol=1e-12)
    assert_array(Y_hat, reference[f"{model}.{readout}.prediction"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("model", MODELS)
def test_float32_agrees_to_1e_5(reference, meta, store, model, readout):
    network = chemprop_twin(reference, meta, model, readout, torch.float32)
    Z, Y_hat = evaluate(network, store.batch(range(len(store))), torch.float32)
    assert row_error(Z, reference[f"{model}.{readout}.embedding"]) < 1e-5
    assert row_error(Y_hat, reference[f"{model}.{readout}.prediction"]) < 1e-5


def test_one_molecule_at_a_time_gives_the_same(reference, meta, store):
    """Batch composition and order must not matter: single atoms, salts and the largest molecule included."""
    network = chemprop_twin(reference, meta, "deep", "mean", torch.float64)
    expected = reference["deep.mean.embedding"]
    for row in range(len(store)):
        Z, _ = evaluate(network, store.batch([row]), torch.float64)
        assert_array(Z, expected[[row]], rtol=1e-9, atol=1e-12)
    rows = np.random.default_rng(0).permutation(len(store))
    Z, _ = evaluate(network, store.batch(rows), torch.float64)
    assert_array(Z, expected[rows], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_every_message_weight_is_at_work(reference, meta, store, model):
    """No bond unit is silent in the reference, so agreement says something about each entry of W_h."""
    network = chemprop_twin(reference, meta, model, "mean", torch.float32)
    network.encoder(store.batch(range(len(store)))).square().sum().backward()
    assert (network.encoder.W_h.weight.grad != 0).all()


@pytest.mark.parametrize("change", ["depth", "readout", "weight"])
def test_the_comparison_can_fail(reference, meta, store, change):
    """One bond update less, another readout, or one weight changed by 1 % is noticed."""
    network = chemprop_twin(reference, meta, "shallow", "mean", torch.float64)
    encoder = network.encoder
    if change == "depth":
        encoder.depth -= 1
    elif change == "readout":
        encoder.readout = "norm"
    else:
        with torch.no_grad():
            encoder.W_h.weight[0, 0] *= 1.01
    Z, _ = evaluate(network, store.batch(range(len(store))), torch.float64)
    assert row_error(Z, reference["shallow.mean.embedding"]) > 1e-4
