"""The kernel head: what it computes, which members it mixes, and that fusing helps on a small sparse table."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge

from fusionbook import fusion
from fusionbook.app import hide_labels
from fusionbook.core import InputError, TrainingWarning
from fusionbook.datasets import load_xtb
from fusionbook.fusion import (
    LENGTHS,
    PENALTIES,
    FusedMultiTask,
    MultiTask,
    SingleTask,
    UntrainedEncoders,
    compare,
    encoders_to_fuse,
    fit_kernel_head,
    stack_weights,
)
from fusionbook.molecules import Split, split_molecules
from fusionbook.training import MatrixInputs, TrainConfig, predict_rows

pytestmark = pytest.mark.filterwarnings("ignore::fusionbook.core.TrainingWarning")


@pytest.fixture(scope="module")
def single(small_config, table, split):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        return SingleTask(small_config).fit(table, split)


@pytest.fixture
def curve():
    """A curved target of the first of four columns, measured on 120 of 150 rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 4))
    Y = np.sin(2 * X[:, :1])
    Y[::5] = np.nan
    return X, Y, Split(np.arange(100), np.arange(100, 150), np.arange(0))


def test_one_kernel_is_scikit_learns_kernel_ridge(curve, monkeypatch):
    monkeypatch.setattr(fusion, "LENGTHS", (4.0,))
    X, Y, split = curve
    head, about, _ = fit_kernel_head(X, Y, split, np.zeros(4, dtype=int), seed=0)
    assert np.array(about["shares"]).tolist() == [[1.0]]
    rate = float(head.rates[0, 0])
    squares = ((X[:100, None] - X[None, :100]) ** 2).sum(axis=2)[np.triu_indices(100, 1)]
    assert rate == pytest.approx(1 / (2 * 4.0 * np.median(squares)))
    train = np.flatnonzero(~np.isnan(Y[:100, 0]))
    bias = float(head.bias[0])
    known = KernelRidge(alpha=about["penalty"][0][0] * len(train), kernel="rbf", gamma=rate)
    known.fit(X[train], Y[train] - bias)
    ours = predict_rows(head, MatrixInputs(X))
    np.testing.assert_allclose(ours, known.predict(X) + bias, atol=2e-3)
    assert about["penalty"][0][0] in PENALTIES


def test_landmarks_come_close_to_all_labels(curve, monkeypatch):
    X, Y, split = curve
    groups = np.zeros(4, dtype=int)
    exact, _, _ = fit_kernel_head(X, Y, split, groups, seed=0)
    monkeypatch.setattr(fusion, "LANDMARKS", 40)
    fewer, _, _ = fit_kernel_head(X, Y, split, groups, seed=0)
    assert len(exact.landmarks) == 80 and len(fewer.landmarks) == 40
    truth = np.sin(2 * X[:, :1])
    errors = [np.abs(predict_rows(head, MatrixInputs(X)) - truth)[100:].mean() for head in (exact, fewer)]
    assert errors[0] < 0.35 and errors[1] < 2 * errors[0]


def test_members_that_know_nothing_of_a_task_get_no_weight(curve):
    X, Y, split = curve
    Y = np.column_stack([Y, Y])
    truth = np.sin(2 * X[:, :1])
    others = np.full((2, *Y.shape), np.nan)
    others[0, :, 0] = truth[:, 0]
    others[1, :, 1] = -truth[:, 0]
    head, about, shares = fit_kernel_head(X, Y, split, np.zeros(4, dtype=int), seed=0, others=others)
    assert shares[0, 1] == 0 and shares[1, 0] == 0 and shares[1, 1] < 0.1
    assert np.argmax(about["shares"][0]) == 3
    np.testing.assert_allclose(np.array(about["shares"]).sum(axis=1), 1)
    assert head.weights.shape[0] == len(LENGTHS)


def test_stacking_prefers_the_better_and_never_leaves_the_simplex():
    rng = np.random.default_rng(0)
    for n in (1, 3, 50):
        R = rng.normal(size=(6, n)) * np.array([0.1, 1, 1, 1, 1, 5])[:, None]
        w = stack_weights(R)
        assert (w >= 0).all() and w.sum() == pytest.approx(1)
    assert w.argmax() == 0 and w.argmin() == 5
    R = rng.normal(size=(4, 30))
    mixed = np.mean((stack_weights(R) @ R) ** 2)
    assert mixed <= np.mean((R.mean(axis=0)) ** 2) + 1e-12


@pytest.mark.parametrize(("shift", "factor"), [(0.0, 1.0), (3.0, 2.0)])
def test_a_mixture_of_own_heads_only_is_the_own_head(shift, factor, single, table, split):
    """Also where the fused model learned from other labels, whose mean and spread are others."""
    fused = FusedMultiTask(single).fit(table, split)
    head = copy.deepcopy(fused.heads_[0][0])
    mean, std = head.mean + shift, head.std * factor
    blocks = fused.embed(table)
    networks = fusion.block_networks(fused.encoders_)
    others = fusion.own_predictions(networks, "readout")
    own = fusion._weigh_own(others, np.eye(3), blocks, list(head.tasks), mean, std)
    Z = torch.as_tensor(blocks.concatenate())
    np.testing.assert_allclose(
        own(Z).detach().numpy() * std + mean, single.predict(table), rtol=1e-4, atol=1e-4
    )


def test_two_names_of_one_property_share_their_labels(monkeypatch):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(400, 6))
    truth = np.sin(X[:, 0]) + X[:, 1] + X[:, 2] * X[:, 3] / 2
    Y = np.stack([truth, truth, rng.normal(size=400)], axis=1)  # the third has nothing to do with them
    Y[:300] += 0.3 * rng.normal(size=(300, 3))
    owner = rng.integers(3, size=400)
    for j in range(3):
        Y[:300, j][owner[:300] != j] = np.nan
    split, groups = Split(np.arange(200), np.arange(200, 300), np.arange(300, 400)), np.zeros(6, dtype=int)

    def fitted():
        head, about, _ = fit_kernel_head(X, Y, split, groups, seed=0)
        Y_hat = predict_rows(head, MatrixInputs(X))[split.test]
        return np.abs(Y_hat - Y[split.test]).mean(axis=0), np.array(about["shares"])

    shared, shares = fitted()
    assert shares.shape == (3, len(LENGTHS) + 1) and (shares[:2, -1] > 0.3).all()
    monkeypatch.setattr(fusion, "_share_labels", lambda *given: given[-1].only([]))
    alone, shares = fitted()
    assert shares.shape == (3, len(LENGTHS))
    assert (shared[:2] < 0.9 * alone[:2]).all(), (shared, alone)
    assert shared[2] < 1.05 * alone[2]


def test_no_more_labels_are_shared_than_there_is_room_for(monkeypatch):
    Y = np.full((50, 3), np.nan)
    Y[:40, 0], Y[::2, 1], Y[:5, 2] = 1.0, 2.0, 3.0
    order = np.random.default_rng(0).permutation(50)
    for room, wanted in ((1000, [40, 25, 5]), (45, [20, 20, 5]), (9, [3, 3, 3])):
        monkeypatch.setattr(fusion, "LABELS", room)
        rows, places = fusion._some_labels(Y, order)
        assert np.bincount(places[:, 1]).tolist() == wanted
        assert (Y[rows[places[:, 0]], places[:, 1]] == places[:, 1] + 1).all()
        assert len(np.unique(places, axis=0)) == len(places)


def test_the_mixture_is_told(small_config, single, table, split):
    multi = MultiTask(small_config).fit(table, split)
    fused = FusedMultiTask(encoders_to_fuse(single, multi)).fit(table, split)
    shares = fused.mixture()
    assert shares.index.tolist() == ["mass", "tpsa", "logP"]
    assert shares.columns.tolist() == [
        "learned",
        "untrained",
        "both",
        "learned, all labels",
        "untrained, all labels",
        "both, all labels",
        "head of mass",
        "head of tpsa",
        "head of logP",
        "head of all tasks",
    ]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares.loc["mass", "head of logP"] == 0
    names = ["mass", "tpsa", "logP", "all tasks", "untrained 1", "untrained 2", "untrained 3"]
    assert fused.embed(["CCO"]).names == names
    with pytest.raises(InputError, match="kernel"):
        FusedMultiTask(single, head="ridge").fit(table, split).mixture()
    alone = FusedMultiTask(UntrainedEncoders(2, small_config)).fit(table, split).mixture()
    assert alone.columns.tolist() == ["untrained", "untrained, all labels"]


def test_encoders_with_one_member_stand_in_every_member(small_config, table, split):
    double = SingleTask(small_config, n_models=2).fit(table, split)
    lone = MultiTask(small_config).fit(table, split)
    fused = FusedMultiTask([double, lone]).fit(table, split)
    assert len(fused.heads_) == 2
    first, second = (fused.embed(["CCO"], member=member) for member in (0, 1))
    assert (first["all tasks"] == second["all tasks"]).all() and (first["mass"] != second["mass"]).any()
    assert fused.predict(["CCO"], spread=True).notna().all(axis=None)
    triple = SingleTask(small_config, n_models=3).fit(table, split)
    with pytest.raises(InputError, match="2 and 3 ensemble members"):
        FusedMultiTask([double, triple]).fit(table, split)


def test_fusing_helps_on_a_sparse_table():
    """The order that the project stands for, on a small fixed study: F-MT errs less than ST and than MT."""
    full = load_xtb().only(["gap", "homo", "logp", "rg", "polarisability", "q_max"])
    full = full.select(np.sort(np.random.default_rng(0).permutation(full.n)[:700]))
    shares = [0.1, 0.2, 0.3, 0.4, 0.3, 0.2]
    table, split = hide_labels(
        full, shares, seed=0, split=lambda thin: split_molecules(thin, fractions=(0.6, 0.2, 0.2), seed=0)
    )
    short = TrainConfig(d_h=64, head_width=64, min_steps=500, max_steps=500)
    long = TrainConfig(d_h=64, head_width=64, batch_size=16, rate_peak=2e-3, min_steps=2500, max_steps=2500)
    single, multi = SingleTask(short, n_jobs=1).fit(table, split), MultiTask(long, n_jobs=1).fit(table, split)
    fused = FusedMultiTask(encoders_to_fuse(single, multi)).fit(table, split)
    frame = compare({"ST": single, "MT": multi, "F-MT": fused}, table, split)
    means = frame.groupby("model")["MAE / sd"].mean()
    assert means["F-MT"] < 0.97 * means["MT"] and means["F-MT"] < 0.97 * means["ST"]


def test_a_molecule_that_occurs_again_and_again(curve):
    """Most pairs of training rows have distance 0; the kernels' length is that of the other pairs."""
    X, Y, split = curve
    X[:80] = X[0]
    head, _, _ = fit_kernel_head(X, Y, split, np.zeros(4, dtype=int), seed=0)
    squares = ((X[:100, None] - X[None, :100]) ** 2).sum(axis=2)[np.triu_indices(100, 1)]
    assert np.median(squares) == 0
    assert float(head.rates[0, 0]) == pytest.approx(1 / (2 * LENGTHS[0] * np.median(squares[squares > 0])))


@pytest.mark.parametrize("reduce", [None, "pca", "cur"])
@pytest.mark.parametrize("dead", ["learned", "untrained"])
def test_a_group_of_blocks_that_carry_nothing(dead, reduce, small_config, table, split):
    """Its columns are gone, and with them its kernels and its share of the mixture."""
    encoders = [
        SingleTask(small_config).fit(table, split),
        UntrainedEncoders(2, small_config).fit(table, split),
    ]
    for one in encoders[dead == "untrained"].networks_[0]:
        for states in (one.network.state_dict(), *one.states):
            states["encoder.W_o.weight"].zero_()
            states["encoder.W_o.bias"].fill_(-1.0)
    model = FusedMultiTask(encoders, reduce=reduce).fit(table, split)
    alive = {"learned": "untrained", "untrained": "learned"}[dead]
    assert [name for name in model.mixture() if "head" not in name and "all labels" not in name] == [alive]
    assert np.isfinite(model.predict(["CCO"]).to_numpy()).all()
