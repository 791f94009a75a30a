"""Explanations: exact splits, completeness, planted meanings, leverage laws, measured coverage, refusals."""

import math
import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem
from sklearn.exceptions import NotFittedError
from torch import nn

from fusionbook.core import InputError, RowsWarning, TrainingWarning, assert_array
from fusionbook.cur import leverage_scores
from fusionbook.dmpnn import PyGEncoder
from fusionbook.embeddings import EmbeddingBlocks, fit_block_scaler
from fusionbook.explain import (
    IntervalWarning,
    applicability_domain,
    atoms_svg,
    binomial_interval,
    conformal_quantile,
    correlate,
    explain,
    feature_card,
    fingerprints,
    fit_intervals,
    fit_leverage,
    nearest_training,
    path_gradient,
    simple_descriptors,
    split_atoms,
)
from fusionbook.fusion import (
    FusedMultiTask,
    MeanPredictor,
    MultiTask,
    SingleTask,
    UntrainedEncoders,
    load_model,
)
from fusionbook.graphs import pack_graphs
from fusionbook.molecules import MoleculeTable, Split, Task, split_molecules
from fusionbook.training import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::fusionbook.core.TrainingWarning")

HEAD = TrainConfig(head_width=16, min_steps=60, max_steps=60)
SALT = "CC(=O)[O-].[Na+]"


@pytest.fixture(scope="module")
def single(small_config, table, split):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        return SingleTask(small_config, n_models=2, n_jobs=1).fit(table, split)


@pytest.fixture(scope="module")
def fused(single, table, split):
    return FusedMultiTask(single).fit(table, split)


# splitting over atoms


@pytest.mark.parametrize("readout", ["mean", "sum", "norm"])
def test_atom_shares_sum_to_the_embedding(table, split, readout):
    config = TrainConfig(d_h=24, readout=readout)
    network = UntrainedEncoders(1, config).fit(table, split).networks_[0][0]
    store = pack_graphs(["C", "CCO", SALT, "c1ccccc1C(=O)N"])
    for row, shares in enumerate(split_atoms(network, store, range(4))):
        assert shares.shape == (store.n_atoms[row], 24)
        assert_array(shares.sum(axis=0), network.embed(store)[row].astype(float), rtol=1e-5, atol=1e-7)


def test_renumbering_atoms_renumbers_shares(single):
    network = single.networks_[0][0]
    mol = Chem.MolFromSmiles("CC(O)C#N")
    order = [4, 2, 0, 1, 3]
    other = Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False)
    assert [a.GetSymbol() for a in Chem.MolFromSmiles(other).GetAtoms()] != [
        a.GetSymbol() for a in mol.GetAtoms()
    ]
    first, second = (split_atoms(network, pack_graphs([text]), [0])[0] for text in ("CC(O)C#N", other))
    match = Chem.MolFromSmiles(other).GetSubstructMatch(mol)
    assert_array(second[list(match)], first, rtol=1e-5, atol=1e-7)


class AtomRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(72, 5)

    def forward(self, x, edge_index, edge_attr, batch):
        return self.layer(x)


class MoleculeRows(AtomRows):
    def forward(self, x, edge_index, edge_attr, batch):
        out = x.new_zeros(int(batch.max()) + 1, 5).index_add(0, batch, self.layer(x))
        return torch.cat([out, torch.ones(len(out), 1)], dim=1)


@pytest.mark.parametrize("readout", ["mean", "sum"])
def test_pyg_encoder_with_atom_rows_is_split(table, split, readout):
    model = SingleTask(HEAD, encoder=lambda: PyGEncoder(AtomRows(), readout), n_jobs=1).fit(table, split)
    for smiles in ("C", "CCO"):
        one = explain(model, smiles, "mass")
        assert_array(one.atoms.sum(), one.blocks.sum(), rtol=1e-6)
        assert abs(one.gap) <= 0.01 * abs(one.prediction - one.baseline)


def test_pyg_encoder_with_molecule_rows_is_explained_without_atoms(table, split):
    model = SingleTask(HEAD, encoder=lambda: PyGEncoder(MoleculeRows()), n_jobs=1).fit(table, split)
    with pytest.raises(InputError, match="MoleculeRows returns one row a molecule"):
        split_atoms(model.networks_[0][0], pack_graphs(["CCO"]), [0])
    one = explain(model, "CCO", "mass")
    assert one.atoms is None and "MoleculeRows" in one.note
    assert abs(one.gap) <= 0.01 * abs(one.prediction - one.baseline)
    with pytest.raises(InputError, match="no atom contributions"):
        one.svg()
    fused = FusedMultiTask(model, head="ridge", reduce=None).fit(table, split)
    assert "Block 'mass'" in explain(fused, "CCO", "mass").note
    card = feature_card(fused, ("mass", 0), table)
    assert card.atoms is None and len(card.svgs()) == len(card.molecules)


# the gradient along a path


def test_linear_function_is_exact():
    weights = torch.tensor([2.0, 3.0], dtype=torch.float64)
    assert_array(path_gradient(lambda Z: Z @ weights + 1, [1, 0], [2, 1]), [2.0, 3.0])


def test_one_hidden_layer_against_its_closed_form():
    """A unit contributes its gradient for exactly the share of the path on which it is on."""
    generator = torch.Generator().manual_seed(1)
    W, b, v = (torch.randn(*shape, generator=generator).double() for shape in ((50, 7), (50,), (50,)))
    start, end = np.linspace(-1, 1, 7), np.array([2.0, -1, 0.3, 1, -2, 0.1, 1])
    found = path_gradient(lambda Z: torch.relu(Z @ W.T + b) @ v, start, end, 1e-5)
    a0, a1 = W.numpy() @ start + b.numpy(), W.numpy() @ end + b.numpy()
    crossing = np.clip(-a0 / (a1 - a0), 0, 1)
    on = np.where(a0 > 0, np.where(a1 > 0, 1, crossing), np.where(a1 > 0, 1 - crossing, 0))
    assert ((on > 0) & (on < 1)).sum() > 5
    assert_array(found, (v.numpy() * on) @ W.numpy(), rtol=1e-3, atol=1e-3)


def test_contributions_that_nearly_cancel_still_add_up():
    """The rise is a thousandth of the contributions; evenly spaced points would miss it."""
    generator = torch.Generator().manual_seed(2)
    W = torch.randn(200, 8, generator=generator).double()
    start, end = np.zeros(8), np.array([1.0, -2, 3, 1, -1, 2, -3, 1])

    def f(Z):
        return torch.relu(Z @ W.T - 0.3).sum(dim=1) - slope * (Z @ torch.tensor(end)) / (end @ end)

    slope = 0.0
    rise = f(torch.tensor(end)[None]).item() - f(torch.tensor(start)[None]).item()
    slope = 0.999 * rise
    missed = path_gradient(f, start, end) @ (end - start) - 0.001 * rise
    assert abs(missed) < 1e-2 * 0.001 * rise


def test_a_smooth_bump_is_integrated_without_halving():
    """f = exp(-|z|^2): the first pieces are enough, and the mean gradient on a line through 0 is known."""
    asked = []

    def f(Z):
        asked.append(len(Z))
        return torch.exp(-(Z**2).sum(dim=1))

    end = np.array([0.6, -0.8])
    found = path_gradient(f, np.zeros(2), end, 1e-5)
    assert_array(found, (np.exp(-1) - 1) * end, rtol=1e-6)  # along the unit vector `end`
    assert asked == [5, 20]  # the ends of four pieces, then their nodes


def test_no_way_to_go_gives_nothing():
    assert np.isfinite(path_gradient(lambda Z: torch.relu(Z).sum(dim=1), [1.0, -1.0], [1.0, -1.0])).all()


def test_a_path_that_is_not_finite_is_refused():
    for f, start in (
        (lambda Z: torch.log(Z[:, 0]), [-1.0]),
        (lambda Z: Z[:, 0], [np.nan]),
        (lambda Z: 1 / Z[:, 0], [-1.0]),
    ):
        with pytest.raises(InputError, match="not finite"):
            path_gradient(f, start, [1.0])


def test_captum_agrees():
    attr = pytest.importorskip("captum.attr")
    generator = torch.Generator().manual_seed(3)
    W = torch.randn(30, 5, generator=generator).double()

    def f(Z):
        return torch.tanh(Z @ W.T).sum(dim=1)

    start, end = torch.zeros(1, 5).double(), torch.linspace(-1, 1, 5).double()[None]
    other = attr.IntegratedGradients(f).attribute(end, start, n_steps=500)[0].numpy()
    mine = path_gradient(f, start[0].numpy(), end[0].numpy(), 1e-5) * end[0].numpy()
    assert_array(mine, other, rtol=1e-3, atol=1e-4)


# explanations


@pytest.mark.parametrize("head", ["ridge", "mlp", "kernel"])
@pytest.mark.parametrize("reduce", [None, "pca", "cur"])
@pytest.mark.parametrize("scaling", ["column", "block"])
def test_contributions_add_up_to_the_prediction(single, table, split, head, reduce, scaling):
    size = 20 if reduce == "cur" else None
    options = dict(head=head, reduce=reduce, scaling=scaling, n_components=size, head_config=HEAD)
    model = FusedMultiTask(single, **options).fit(table, split)
    for smiles, task in (("CCCO", "mass"), ("C", "logP"), (SALT, "tpsa")):
        one = explain(model, smiles, task)
        assert_array(one.prediction, model.predict([smiles])[task][0], rtol=1e-4, atol=1e-4)
        rise = one.prediction - one.baseline
        assert abs(one.gap) <= (1e-9 if head == "ridge" else 0.01) * max(abs(rise), 1e-3)
        own = one.features.groupby("block")["contribution"].sum()
        assert_array(own[one.blocks.index].to_numpy(), one.blocks.to_numpy(), atol=1e-9)
        assert_array(one.atom_blocks.sum().to_numpy(), one.blocks.to_numpy(), rtol=1e-6, atol=1e-7)
        assert len(one.atoms) == Chem.MolFromSmiles(smiles).GetNumAtoms()


def test_ridge_contributions_are_weight_times_distance_from_the_mean(table, split, small_config):
    model = FusedMultiTask(SingleTask(small_config, n_jobs=1), head="ridge", reduce="pca").fit(table, split)
    head, scaler = model.heads_[0][0], model.heads_[0][0].features.scaler
    weight = head.module.weight[2].detach().double().numpy() * head.std[2] * head.features.factor
    per_column = weight @ head.features.reducer.components / scaler.scale
    z = model.embed(["CCCN"]).concatenate()[0].astype(float)[scaler.columns]
    expected = np.bincount(scaler.block_of, per_column * (z - scaler.mean), minlength=3)
    one = explain(model, "CCCN", "logP")
    assert_array(one.blocks.to_numpy(), expected, rtol=1e-4, atol=1e-6)
    train = model.embed(table.select(split.train)).concatenate().astype(float).mean(axis=0)
    assert_array(scaler.mean, train[scaler.columns], rtol=1e-5)
    assert_array(one.baseline, head.module.bias[2].item() * head.std[2] + head.mean[2], rtol=1e-4)


def test_ensemble_is_the_mean_of_its_members(fused):
    both = explain(fused, "CCCO", "tpsa")
    alone = []
    for member in range(2):
        one = FusedMultiTask(fused.encoders_)
        one.tasks_, one.seen_ = fused.tasks_, fused.seen_
        one.encoders_ = [SingleTask()]
        one.encoders_[0].networks_ = [fused.encoders_[0].networks_[member]]
        one.encoders_[0].tasks_ = fused.tasks_
        one.heads_ = [fused.heads_[member]]
        alone.append(explain(one, "CCCO", "tpsa"))
    assert_array(both.blocks.to_numpy(), np.mean([one.blocks for one in alone], axis=0), rtol=1e-6)
    assert_array(both.atoms, np.mean([one.atoms for one in alone], axis=0), rtol=1e-5, atol=1e-7)
    assert set(both.features["member"]) == {0, 1}


def test_encoders_explain_themselves_in_one_block(table, split, small_config, single):
    multi = MultiTask(small_config).fit(table, split)
    for model, block in ((single, "logP"), (multi, "all tasks")):
        one = explain(model, "CCCO", "logP")
        assert one.blocks.index.tolist() == [block] and one.baseline_is == "empty embedding"
        assert_array(one.prediction, model.predict(["CCCO"])["logP"][0], rtol=1e-4)
        assert_array(one.atoms.sum(), one.prediction - one.baseline, rtol=0.01)
    from_mean = explain(multi, "CCCO", "logP", background=table.select(split.train))
    assert from_mean.baseline != one.baseline
    assert_array(from_mean.atoms.sum(), from_mean.prediction - from_mean.baseline, rtol=0.01)
    with pytest.raises(InputError, match="holds no molecule"):
        explain(multi, "CCCO", "logP", background=table.select([]))
    itself = explain(multi, "CCCO", "logP", background="CCCO")
    assert_array(itself.blocks.to_numpy(), [0.0], atol=1e-6)


def test_each_task_is_explained_in_its_own_best_state(table, split, small_config):
    multi = MultiTask(small_config, seed=3).fit(table, split)
    trained = multi.networks_[0][0]
    if len(trained.states) == 1:
        other = {name: value * 1.1 for name, value in trained.states[0].items()}
        trained.states.append(other)
    trained.state_of[:3] = [0, 1, 0]
    expected = multi.predict(["CCCO"]).iloc[0]
    for task in multi.tasks_:
        assert_array(explain(multi, "CCCO", task.name).prediction, expected[task.name], rtol=1e-4)


def test_features_are_named_by_their_place_in_their_block(fused):
    features = explain(fused, "CCCO", "tpsa").features
    for member in range(2):
        blocks = fused.embed(["CCCO"], member=member)
        for row in features[features["member"] == member].itertuples():
            assert_array(row.value, float(blocks[row.block][0, row.feature]), rtol=1e-4, atol=1e-6)


def test_extended_and_reloaded_models_are_explained(single, table, split, tmp_path):
    two = table.only(["mass", "tpsa"])
    config = TrainConfig(d_h=8, head_width=8, min_steps=40, max_steps=40)
    model = FusedMultiTask(SingleTask(config, n_jobs=1)).fit(two, split)
    longer = model.extend("logP", table, split)
    assert explain(longer, "CCO", "mass").blocks.index.tolist() == ["mass", "tpsa"]
    assert explain(longer, "CCO", "logP").blocks.index.tolist() == ["mass", "tpsa", "logP"]
    again = load_model(longer.save(tmp_path / "model"))
    assert_array(
        explain(again, "CCO", "logP").atoms, explain(longer, "CCO", "logP").atoms, rtol=1e-4, atol=1e-6
    )


def test_hidden_layers_as_blocks_have_no_atoms(single, table, split):
    model = FusedMultiTask(single, layer="head", head="ridge").fit(table, split)
    one = explain(model, "CCO", "mass")
    assert one.atoms is None and "layer='head'" in one.note
    assert abs(one.gap) < 1e-8
    assert_array(one.prediction, model.predict(["CCO"])["mass"][0], rtol=1e-4)
    assert feature_card(model, 0, table).atoms is None


def test_explaining_does_not_change_the_model(fused, table):
    before = fused.predict(table)
    explain(fused, "CCO", "mass")
    feature_card(fused, 0, table)
    pd.testing.assert_frame_equal(fused.predict(table), before)


def test_refusals_of_explain(fused, table, split):
    with pytest.raises(InputError, match="Did you mean 'mass'"):
        explain(fused, "CCO", "mas")
    with pytest.raises(InputError, match="'C1CC' cannot be read"):
        explain(fused, "C1CC", "mass")
    with pytest.raises(InputError, match="cell is empty"):
        explain(fused, "", "mass")
    with pytest.raises(InputError, match="one molecule; got 2"):
        explain(fused, ["CCO", "CCN"], "mass")
    with pytest.raises(InputError, match="`task` is needed"):
        explain(fused, "CCO")
    with pytest.raises(InputError, match="MeanPredictor"):
        explain(MeanPredictor().fit(table, split), "CCO", "mass")
    with pytest.raises(InputError, match="does not predict 'mass' by itself"):
        explain(UntrainedEncoders(1, TrainConfig(d_h=4)).fit(table, split), "CCO", "mass")
    with pytest.raises(NotFittedError):
        explain(FusedMultiTask(), "CCO", "mass")
    assert explain(fused, ["CCO"], "mass").smiles == "CCO"


# pictures


def test_svg_is_well_formed_escaped_and_complete():
    text = atoms_svg("CCO", [-1.0, 0.0, 2.0], unit="<b>&", title='"><script>alert(1)</script>', numbers=True)
    root = ElementTree.fromstring(text)
    assert "<script" not in text
    discs = [
        e for e in root.iter("{http://www.w3.org/2000/svg}ellipse") if "atom-" in e.attrib.get("class", "")
    ]
    assert len(discs) == 3
    hover = [e.find("{http://www.w3.org/2000/svg}title").text for e in discs]
    assert hover == ["C0: -1", "C1: +0", "O2: +2"]
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"-2", "0", "+2 <b>&"} <= set(texts)


def test_colour_limits_are_symmetric_and_end_where_the_legend_says():
    def fill(text, atom):
        return text.split(f"class='atom-{atom}'")[1].split("fill:#")[1][:6]

    text = atoms_svg("CC", [3.0, -3.0])
    half = atoms_svg("CC", [3.0, -3.0], limit=6)
    first, second = (np.array([int(fill(text, i)[j : j + 2], 16) for j in (0, 2, 4)]) for i in (0, 1))
    weaker = np.array([int(fill(half, 0)[j : j + 2], 16) for j in (0, 2, 4)])
    assert first[0] > first[2] and second[2] > second[0]
    assert np.abs(weaker - (255 + first) / 2).max() <= 1


@pytest.mark.parametrize("smiles", ["C", "[Na+].[Cl-]", "C" * 120, "[2H]O[2H]"])
def test_odd_molecules_are_drawn(smiles):
    n = Chem.MolFromSmiles(smiles).GetNumAtoms()
    ElementTree.fromstring(atoms_svg(smiles, np.linspace(-1, 1, n)))
    ElementTree.fromstring(atoms_svg(smiles, np.zeros(n)))
    ElementTree.fromstring(atoms_svg(smiles))


def test_svg_refusals():
    for values in ([1.0], [1.0, np.nan]):
        with pytest.raises(InputError, match="`values`"):
            atoms_svg("CC", values)
    with pytest.raises(InputError, match="width"):
        atoms_svg("CC", width=10)


# feature cards

CHAINS = ["C" * k + end for k in range(1, 21) for end in ("", "O", "N")]


def blocks_of(*columns):
    return EmbeddingBlocks({"A": np.stack(columns, axis=1)}, CHAINS)


def test_a_feature_that_is_size_is_called_size():
    heavy = simple_descriptors(CHAINS)["heavy atoms"].to_numpy()
    noise = np.random.default_rng(0).normal(size=60)
    Y = np.stack([heavy + 8 * noise, noise], axis=1)
    table = MoleculeTable(CHAINS, Y, (Task("about size", "g"), Task("noise")))
    card = feature_card(blocks_of(2 * heavy + 1), 0, table)
    assert card.verdict.startswith("This feature is mostly molecule size (r = 1.00 with heavy atoms, n = 60)")
    frame = card.to_frame().set_index("what")
    assert_array(frame.loc["about size", "pearson"], np.corrcoef(heavy, Y[:, 0])[0, 1], rtol=1e-9)
    expected = pd.Series(heavy).corr(pd.Series(Y[:, 0]), method="spearman")
    assert_array(frame.loc["about size", "spearman"], expected, rtol=1e-9)


def test_a_feature_that_is_a_property_is_called_that():
    target = np.random.default_rng(1).normal(size=60)
    table = MoleculeTable(CHAINS, target[:, None], (Task("melting point", "K"),))
    card = feature_card(blocks_of(-target), ("A", 0), table)
    assert "follows the property melting point (r = -1.00" in card.verdict
    assert "closest descriptor" in card.verdict
    unlike = feature_card(blocks_of(np.random.default_rng(2).normal(size=60)), 0, table)
    assert unlike.verdict.startswith("No property or simple descriptor explains")


def test_four_labels_never_decide_and_constants_are_named():
    target = np.full(60, np.nan)
    target[:4] = [1, 2, 3, 4]
    table = MoleculeTable(CHAINS, target[:, None], (Task("rare"),))
    column = np.random.default_rng(3).normal(size=60)
    column[:4] = [1, 2, 3, 4]
    card = feature_card(blocks_of(column), 0, table)
    first = card.correlations.iloc[0]
    assert (first["what"], first["n"], round(first["pearson"], 6)) == ("rare", 4, 1.0)
    assert "rare" not in card.verdict
    flat = feature_card(blocks_of(np.full(60, 7.0)), 0, table)
    assert "constant (7)" in flat.verdict and flat.correlations["pearson"].isna().all()
    few = feature_card(blocks_of(column), 0, table, rows=range(5))
    assert "Too few molecules" in few.verdict


def test_cards_show_each_molecule_once_and_match_by_smiles():
    twice = ["OCC", "CCO", "CCCO", "CCCCO", "C1CC1"]
    table = MoleculeTable(twice, np.zeros((5, 0)), ())
    blocks = EmbeddingBlocks({"A": np.array([[5.0], [5.0], [4.0], [3.0], [1.0]])}, twice)
    card = feature_card(blocks, 0, table, n_molecules=2)
    assert card.molecules["smiles"].tolist() == ["OCC", "CCCO", "C1CC1", "CCCCO"]
    assert card.molecules["kind"].tolist() == ["most", "most", "least", "least"]
    other = feature_card(blocks.take([4, 3, 2, 1, 0]), 0, table, n_molecules=2)
    pd.testing.assert_frame_equal(card.molecules, other.molecules)
    part = feature_card(blocks, 0, table, rows=[2, 4], n_molecules=1)
    assert part.molecules["row"].tolist() == [2, 4]
    spread = feature_card(blocks, 0, table, n_molecules=2, max_similarity=0.2)
    assert spread.molecules["smiles"].tolist()[:2] == ["OCC", "C1CC1"]
    with pytest.raises(InputError, match="missing from the blocks"):
        feature_card(blocks.take([0, 1]), 0, table)


def test_card_of_a_model_splits_its_column(fused, table):
    by_number = feature_card(fused, 16 + 3, table, member=1, n_molecules=4)
    by_name = feature_card(fused, ("tpsa", 3), table, member=1, n_molecules=4)
    assert (by_number.block, by_number.feature, by_name.column) == ("tpsa", 3, 19)
    assert_array(by_number.values, fused.embed(table, member=1)["tpsa"][:, 3].astype(float), rtol=1e-5)
    assert_array(by_number.values, by_name.values)
    for (_, shown), atoms in zip(by_name.molecules.iterrows(), by_name.atoms):
        assert shown["value"] == by_name.values[shown["row"]]
        assert_array(atoms.sum(), shown["value"], rtol=1e-5, atol=1e-6)
    assert by_name.values.max() == by_name.molecules["value"].iloc[0]
    assert len(by_name.svgs()) == 8
    for text in by_name.svgs():
        ElementTree.fromstring(text)
    assert "<svg" in by_name._repr_html_()


def test_refusals_of_cards(fused, table):
    for column in (48, -1, 2.5, "mass", ("mass", 16), ("mass",)):
        with pytest.raises(InputError):
            feature_card(fused, column, table)
    with pytest.raises(InputError, match="Did you mean 'logP'"):
        feature_card(fused, ("logp", 0), table)
    with pytest.raises(InputError, match="member"):
        feature_card(fused, 0, table, member=2)
    with pytest.raises(InputError, match="empty"):
        feature_card(fused, 0, table, rows=[])
    assert set(feature_card(fused, 0, ["CCO", "CCN"]).molecules["row"]) == {0, 1}


def test_correlation_interval_holds_the_truth():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        x = rng.normal(size=30)
        frame = pd.DataFrame({"y": 0.6 * x + 0.8 * rng.normal(size=30)})
        row = correlate(x, frame, "test").iloc[0]
        hits += row["low"] <= 0.6 <= row["high"]
    low, high = binomial_interval(hits, 400, 0.999)
    assert low <= 0.95 <= high


def test_correlation_interval_by_hand():
    """r = 0.5, n = 28: tanh(0.5493 -+ 1.96 / 5)."""
    rng = np.random.default_rng(0)
    x, e = rng.normal(size=(2, 28))
    x = (x - x.mean()) / x.std()
    e = e - e.mean() - x * (x @ e) / 28
    row = correlate(x, pd.DataFrame({"y": 0.5 * x + np.sqrt(0.75) * e / e.std()}), "test").iloc[0]
    assert_array([row["pearson"], row["low"], row["high"]], [0.5, 0.1560, 0.7358], atol=2e-4, rtol=0)


# applicability domain


def test_training_leverages_are_row_leverages(fused, table, split):
    training = table.select(split.train)
    blocks = fused.embed(training)
    Z = blocks.concatenate().astype(float)
    X = fit_block_scaler(Z, blocks.block_of, "block").transform(Z)
    for k in (1, 3, 4):
        frame = applicability_domain(fused, table, split, training, k=k)
        assert_array(frame["leverage"].to_numpy(), leverage_scores(X, k, axis="rows"), rtol=1e-4, atol=1e-7)
        assert_array(frame["leverage"].sum(), float(k), rtol=1e-6)
        assert_array(frame["limit"].to_numpy(), np.full(training.n, 3 * k / training.n))
        assert (frame["inside"] == (frame["leverage"] <= frame["limit"])).all()
        assert (frame["similarity"] == 1).all()


def test_full_rank_leverage_is_the_hat_matrix_and_sees_everything():
    X = np.random.default_rng(0).normal(size=(50, 6))
    X -= X.mean(axis=0)
    space = fit_leverage(X, 6)
    hat = X @ np.linalg.inv(X.T @ X) @ X.T
    assert_array(space.leverage(X), np.diag(hat), rtol=1e-9)
    assert_array(space.outside(X), np.zeros(50), atol=1e-12)
    assert_array(space.leverage(3 * X), 9 * np.diag(hat), rtol=1e-9)
    with pytest.raises(InputError, match="equally long"):
        fit_leverage(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), 1)
    with pytest.raises(InputError, match="zero everywhere"):
        fit_leverage(np.zeros((4, 2)))


@pytest.mark.parametrize(("n", "d"), [(640, 900), (900, 640)])
@pytest.mark.parametrize(
    "power", [0.6, 2.0]
)  # 99 % of the variance needs more than one in ten rows, or fewer
def test_leading_directions_give_the_leverage_of_the_full_decomposition(n, d, power):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) / np.arange(1, d + 1) ** power
    X -= X.mean(axis=0)
    U, S, Vt = np.linalg.svd(X, full_matrices=False)
    needed = int(np.searchsorted(np.cumsum(S**2) / np.sum(S**2), 0.99)) + 1
    assert (needed > n // 10) == (power < 1)
    for k in (None, 7, 150):
        space = fit_leverage(X, k)
        assert space.k == (k or min(needed, n // 10))
        assert_array(space.singular, S[: space.k], rtol=1e-9)
        assert_array(space.leverage(X), np.sum(U[:, : space.k] ** 2, axis=1), atol=1e-7, rtol=0)
        new = X[:9] + 0.1 * rng.normal(size=(9, d))
        exact = np.sum((new @ Vt[: space.k].T / S[: space.k]) ** 2, axis=1)
        assert_array(space.leverage(new), exact, rtol=1e-5)


def test_a_large_matrix_with_equal_directions_is_refused_at_the_tie_and_cut_before_it():
    rng = np.random.default_rng(1)
    left, _ = np.linalg.qr(rng.normal(size=(620, 30)))
    right, _ = np.linalg.qr(rng.normal(size=(610, 30)))
    sizes = np.r_[100.0, 10.0, np.full(28, 1.0)]
    X = left * sizes @ right.T
    assert fit_leverage(X, 2).k == 2
    with pytest.raises(InputError, match="equally long, so they are not unique. Take 2"):
        fit_leverage(X, 5)
    with pytest.raises(InputError, match="k"):
        fit_leverage(X, 31)
    with pytest.raises(InputError, match="k"):
        fit_leverage(X, 0.5)


def test_domain_follows_the_input_rows(fused, table, split):
    with pytest.warns(RowsWarning):
        frame = applicability_domain(fused, table, split, ["C" * 90, "C1CC", table.smiles[split.train[0]]])
    assert frame["inside"].tolist() == [False, False, True]
    assert frame["leverage"].isna().tolist() == [False, True, False]
    assert frame["smiles"].tolist()[1] == "C1CC" and frame["nearest"].tolist()[1] == ""
    assert frame["nearest"][2] == table.smiles[split.train[0]]
    spread = fused.predict(["C" * 90], spread=True)
    assert_array(frame["mass spread"].to_numpy()[0], spread["mass spread"][0], rtol=1e-5)
    alone = applicability_domain(fused, table, split, "C" * 90)
    assert_array(alone["leverage"].to_numpy(), frame["leverage"].to_numpy()[:1], rtol=1e-5)


def test_domain_of_models_without_an_ensemble_has_no_spread(small_config, table, split):
    two = table.only(["mass", "tpsa"])
    for model in (UntrainedEncoders(1, small_config), UntrainedEncoders(1, small_config, n_models=2)):
        frame = applicability_domain(model.fit(two, split), two, split, ["CCO"])
        assert not [name for name in frame if name.endswith("spread")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        alone = MultiTask(small_config, progress=False).fit(two, split)
    assert not [name for name in applicability_domain(alone, two, split, ["CCO"]) if name.endswith("spread")]


def test_descriptors_name_the_row_that_cannot_be_read():
    with pytest.raises(InputError, match="`smiles` row 1: 'C1CC' cannot be read: not valid SMILES syntax"):
        simple_descriptors(["CCO", "C1CC"])


def test_nearest_by_hand():
    similarity, nearest = nearest_training(["OCC", "c1ccccc1"], ["CCO", "CCN"])
    assert similarity[0] == 1 and nearest[0] == "CCO"
    assert similarity[1] == 0


def test_fingerprints_refuse_one_text_and_name_the_row_that_cannot_be_used():
    for given in (("CCO", ["CCO"]), (["CCO"], "CCO")):
        with pytest.raises(InputError, match="must be several SMILES; got one text"):
            nearest_training(*given)
    with pytest.raises(InputError, match="row 1: SMILES 'C\\(' cannot be used: not valid SMILES syntax"):
        fingerprints(["CCO", "C(", "CC"])
    assert [bits.GetNumOnBits() > 0 for bits in fingerprints(["CCO", "CC"])] == [True, True]


def test_refusals_of_the_domain(fused, table, split):
    with pytest.raises(InputError, match="`k`"):
        applicability_domain(fused, table, split, ["CCO"], k=0)
    with pytest.raises(InputError, match="training rows"):
        applicability_domain(fused, table, Split(train=[], valid=[0], test=[1]), ["CCO"])
    with pytest.raises(InputError, match="member"):
        applicability_domain(fused, table, split, ["CCO"], member=5)
    with pytest.raises(InputError, match="MeanPredictor"):
        applicability_domain(MeanPredictor().fit(table, split), table, split, ["CCO"])


# intervals


@pytest.mark.parametrize("level", [0.07, 0.5, 0.7, 0.8, 0.9, 0.95])
def test_quantile_has_its_exact_coverage(level):
    """A new error is at most the j-th of n with probability j / (n + 1)."""
    n, rounds = 24, 4000
    rng = np.random.default_rng(5)
    hits = sum(rng.gamma(2) <= conformal_quantile(rng.gamma(2, size=n), level) for _ in range(rounds))
    low, high = binomial_interval(hits, rounds, 0.9999)
    assert low <= math.ceil((n + 1) * level - 1e-9) / (n + 1) <= high


def test_needed_labels():
    for level, needed in ((0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)):
        assert np.isinf(conformal_quantile(np.ones(needed - 1), level))
        assert conformal_quantile(np.ones(needed), level) == 1


def test_binomial_interval_against_a_published_value():
    """Newcombe (1998), Stat. Med. 17:857, table I: 81 of 263 and 0 of 20, Wilson's score without correction."""
    assert_array(binomial_interval(81, 263), [0.2553, 0.3662], atol=5e-5)
    assert_array(binomial_interval(0, 20), [0.0, 0.1611], atol=5e-5)


@pytest.fixture(scope="module")
def synthetic():
    smiles = ["C" * k + "O" + "C" * m for k in range(1, 41) for m in range(1, k + 1)]
    rng = np.random.default_rng(0)
    Y = rng.standard_t(3, size=(len(smiles), 2)) * [1, 50] + [0, 300]
    Y[rng.uniform(size=len(Y)) < 0.5, 1] = np.nan
    return MoleculeTable(smiles, Y, (Task("a"), Task("b", "K")))


def test_coverage_on_exchangeable_data(synthetic):
    covered = n = 0
    for seed in range(8):
        split = split_molecules(synthetic, fractions=(0.1, 0.4, 0.5), seed=seed)
        model = MeanPredictor().fit(synthetic, split)
        frame = fit_intervals(model, synthetic, split, 0.8).coverage(synthetic, split.test)
        assert frame.loc["b", "n"] == np.isfinite(synthetic.Y[split.test, 1]).sum()
        covered, n = covered + frame["covered"].sum(), n + frame["n"].sum()
    # both calibration (about 490 labels a split) and test scatter: one standard error is about 0.009
    assert abs(covered / n - 0.8) < 0.035


def test_interval_by_hand(synthetic):
    split = Split(train=range(10), valid=range(10, 19), test=range(19, 40))
    only = synthetic.only("a")
    model = MeanPredictor().fit(only, split)
    made = fit_intervals(model, only, split, 0.8)
    errors = np.sort(np.abs(only.Y[10:19, 0] - only.Y[:10, 0].mean()))
    assert_array(made.half_width["a"], errors[7])
    bounds = made.predict(["CCO", "CCN"])
    assert bounds.columns.tolist() == ["a", "a low", "a high"]
    assert_array((bounds["a high"] - bounds["a"]).to_numpy(), [errors[7]] * 2)
    inside = np.abs(only.Y[19:40, 0] - only.Y[:10, 0].mean()) <= errors[7]
    assert made.coverage(only, split.test).loc["a", "covered"] == inside.sum()
    mask = np.zeros(only.n, dtype=bool)
    mask[19:40] = True
    pd.testing.assert_frame_equal(made.coverage(only, mask), made.coverage(only, split.test))
    assert_array(fit_intervals(model, only, split, 0.8, rows=range(10, 19)).half_width["a"], errors[7])


def test_four_labels_promise_nothing_at_90_percent(synthetic):
    Y = synthetic.Y.copy()
    split = split_molecules(synthetic, fractions=(0.4, 0.2, 0.4), seed=0)
    Y[split.valid[4:], 0] = np.nan
    table = MoleculeTable(synthetic.smiles, Y, synthetic.tasks)
    model = MeanPredictor().fit(table, split)
    with pytest.warns(IntervalWarning, match=r"need 9 labels.*infinite for: a \(4 labels\)\.$"):
        made = fit_intervals(model, table, split, 0.9)
    bounds = made.predict(["CCO"])
    assert np.isinf(bounds["a low"][0]) and np.isfinite(bounds["b low"][0])
    assert made.to_frame().loc["a"].tolist() == [np.inf, 4, 9]
    assert made.coverage(table, split.test).loc["a", "coverage"] == 1
    assert "1 of 2 tasks" in repr(made)


def test_scaled_intervals_widen_with_the_spread(single, table, split):
    made = fit_intervals(single, table, split, 0.5, scaled=True)
    given = single.predict(table.select(split.test), spread=True)
    bounds = made.predict(table.select(split.test))
    width = (bounds["tpsa high"] - bounds["tpsa low"]).to_numpy() / 2
    spread = np.maximum(given["tpsa spread"].to_numpy(), made.floor["tpsa"])
    assert_array(width, made.half_width["tpsa"] * spread, rtol=1e-4)
    assert width.std() > 0
    with pytest.raises(InputError, match="n_models=2"):
        fit_intervals(MeanPredictor().fit(table, split), table, split, 0.5, scaled=True)


def test_a_split_the_model_was_not_fitted_with_is_refused(synthetic):
    mine, other = (split_molecules(synthetic, fractions=(0.4, 0.2, 0.4), seed=seed) for seed in (0, 1))
    config = TrainConfig(epochs=1, min_steps=1)
    single = SingleTask(config=config).fit(synthetic, mine)
    for model in (MeanPredictor().fit(synthetic, mine), single):
        with pytest.raises(InputError, match="fitted with another split"):
            fit_intervals(model, synthetic, other)
    with pytest.raises(InputError, match="fitted with another split"):
        applicability_domain(single, synthetic, other, ["CCO"])
    swapped = Split(train=mine.valid, valid=mine.train, test=mine.test)
    fused = FusedMultiTask([single]).fit(synthetic, mine)
    for model in (single, fused):
        with pytest.raises(InputError, match="were trained on"):
            fit_intervals(model, synthetic, swapped)


def test_refusals_of_intervals(synthetic):
    split = split_molecules(synthetic, fractions=(0.4, 0.2, 0.4), seed=0)
    model = MeanPredictor().fit(synthetic, split)
    with pytest.raises(InputError, match="were trained on"):
        fit_intervals(model, synthetic, split, rows=[*split.valid, split.train[0]])
    made = fit_intervals(model, synthetic, split)
    for rows in (split.valid, split.train[:1]):
        with pytest.raises(InputError, match="has seen"):
            made.coverage(synthetic, rows)
    half = split.test[::2]
    calibrated = fit_intervals(model, synthetic, split, rows=half)
    with pytest.raises(InputError, match="has seen"):
        calibrated.coverage(synthetic, half)
    assert calibrated.coverage(synthetic, split.test[1::2]).loc["a", "n"] == len(split.test[1::2])
    for level in (0, 1, 90):
        with pytest.raises(InputError, match="level"):
            fit_intervals(model, synthetic, split, level)
    other = MoleculeTable(["CCO"], [[1.0]], (Task("c"),))
    with pytest.raises(InputError, match="none of the model's tasks"):
        made.coverage(other, [0])
    with pytest.raises(NotFittedError):
        fit_intervals(MeanPredictor(), synthetic, split)
    with pytest.raises(InputError, match="fusionbook model"):
        fit_intervals("model", synthetic, split)
    with pytest.warns(RowsWarning):
        assert made.predict(["CCO", "C1CC"])["a low"].isna().tolist() == [False, True]
    assert len(made.predict("CCO")) == 1
