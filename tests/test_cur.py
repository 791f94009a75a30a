"""Leverage, CUR and the masses of blocks: hand values, laws, oracles, and what is refused."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA as SklearnPCA

from fusionbook import cur as module
from fusionbook.core import InputError, assert_array
from fusionbook.cur import (
    SELECTIONS,
    block_leverage,
    block_scaler,
    choose_rank,
    cur,
    leverage_scores,
    pca,
    right_singular,
    select_columns,
    selection_errors,
    top_singular,
)
from fusionbook.embeddings import EmbeddingBlocks

ORACLES = Path(__file__).parent / "oracles"
REFERENCE = np.load(ORACLES / "skmatter_reference.npz", allow_pickle=False)
CASES = json.loads(str(REFERENCE["meta"]))["cases"]
DIAGONAL = np.diag([3.0, 2.0, 1.0])
RULES = ("top", "greedy", "deim", "leverage", "random")


def oracle_matrix(name):
    spec = importlib.util.spec_from_file_location("make_skmatter", ORACLES / "make_skmatter_reference.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.matrix(name)


def decaying(n, d, seed=0, power=1.0):
    """A matrix (n, d) with singular values 1 / i^power."""
    rng = np.random.default_rng(seed)
    r = min(n, d)
    left, _ = np.linalg.qr(rng.normal(size=(n, r)))
    right, _ = np.linalg.qr(rng.normal(size=(d, r)))
    return left / np.arange(1, r + 1) ** power @ right.T


@st.composite
def matrices(draw):
    """Small matrices with and without copies of columns, and a rank k with a gap after it."""
    n = draw(st.integers(3, 12))
    d = draw(st.integers(2, 10))
    X = np.random.default_rng(draw(st.integers(0, 10**6))).normal(size=(n, d))
    X = X * draw(st.sampled_from([1e-6, 1.0, 1e4]))
    if draw(st.booleans()):
        X[:, -1] = X[:, 0]
    S = np.linalg.svd(X)[1]
    k = draw(st.integers(1, int((S > 1e-10 * S[0]).sum())))
    assume(k == len(S) or S[k - 1] - S[k] > 1e-6 * S[0])
    return X, k


# ---- leverage ----


@settings(max_examples=60, deadline=None)
@given(matrices(), st.integers(0, 1000))
def test_laws_of_leverage(case, seed):
    X, k = case
    score = leverage_scores(X, k)
    assert_array(score.sum(), float(k), rtol=1e-9)
    assert (score > -1e-12).all() and (score < 1 + 1e-9).all()
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(X), len(X))))
    assert_array(leverage_scores(rotation @ X, k), score, atol=1e-7)
    order = np.random.default_rng(seed).permutation(X.shape[1])
    assert_array(leverage_scores(X[:, order], k), score[order], atol=1e-7)
    assert_array(leverage_scores(X.T, k, axis="rows"), score, atol=1e-12)
    assert_array(leverage_scores(-3 * X, k), score, atol=1e-7)


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (12, 12)])
def test_scores_equal_those_of_the_eigenvectors(shape):
    X = np.random.default_rng(1).normal(size=shape)
    vectors = np.linalg.eigh(X.T @ X)[1]
    assert_array(leverage_scores(X, 4), (vectors[:, -4:] ** 2).sum(axis=1), rtol=1e-8)


def test_row_scores_are_the_hat_diagonal():
    X = np.random.default_rng(2).normal(size=(30, 5))
    hat = X @ np.linalg.inv(X.T @ X) @ X.T
    assert_array(leverage_scores(X, 5, axis="rows"), np.diag(hat), rtol=1e-10)


def test_degenerate_rank_names_the_nearest():
    with pytest.raises(InputError, match=r"singular values 1 and 2 are equal.*nearest rank with a gap is 2"):
        leverage_scores(np.diag([2.0, 2.0, 1.0]), 1)
    with pytest.raises(InputError, match="nearest rank with a gap is 1"):
        leverage_scores(np.diag([3.0, 2.0, 2.0, 2.0]), 2)
    assert choose_rank(np.diag([2.0, 2.0, 1.0]), 0.4) == 2


def test_pca_agrees_with_scikit_learn():
    X = np.random.default_rng(3).normal(size=(50, 12)) @ np.diag(np.arange(12, 0, -1)) + 7
    ours = pca(X, 4)
    theirs = SklearnPCA(4, svd_solver="full").fit(X)
    assert_array(np.abs(ours.components), np.abs(theirs.components_), atol=1e-9)
    assert_array(ours.explained, theirs.explained_variance_ratio_, rtol=1e-9)
    assert_array(ours.mean, theirs.mean_, rtol=1e-12)


# ---- large matrices ----


@pytest.mark.parametrize("shape", [(900, 650), (650, 900), (3000, 601)])
@pytest.mark.parametrize("power", [0.7, 1.5])
def test_large_matrices_agree_with_the_exact_decomposition(shape, power):
    X = decaying(*shape, power=power)
    _, Vt = np.linalg.svd(X, full_matrices=False)[1:]
    S = np.arange(1.0, min(shape) + 1) ** -power
    for k in (1, 15, 60):
        S_top, Vt_top = top_singular(X, k)
        assert_array(S_top[:k], S[:k], rtol=1e-9)
        assert_array(leverage_scores(X, k), (Vt[:k] ** 2).sum(axis=0), atol=1e-7)
        assert_array(Vt_top @ Vt_top.T, np.eye(len(Vt_top)), atol=1e-6)
    share = np.cumsum(S**2) / np.sum(S**2)
    assert choose_rank(X, 0.8) == 1 + np.flatnonzero(share >= 0.8)[0]
    assert choose_rank(X, 1.0) == min(shape)


def test_krylov_is_what_large_matrices_use(monkeypatch):
    monkeypatch.setattr(module, "right_singular", None)
    assert len(top_singular(decaying(700, 650), 5)[0]) < 300


def test_large_matrices_of_low_rank():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 40)) @ rng.normal(size=(40, 700))
    assert choose_rank(X, 1.0) == 40
    assert_array(leverage_scores(X, 40).sum(), 40.0, rtol=1e-9)
    with pytest.raises(InputError, match="from 1 to 40"):
        leverage_scores(X, 41)


def test_large_matrix_of_equal_singular_values():
    Q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(700, 650)))
    with pytest.raises(InputError, match="nearest rank with a gap is 650"):
        leverage_scores(Q, 3)
    Q[:, :100] *= 2
    with pytest.raises(InputError, match="nearest rank with a gap is 100"):
        leverage_scores(Q, 99)
    assert_array(leverage_scores(Q, 100)[:100], np.ones(100), atol=1e-7)


# ---- choosing columns ----


@pytest.mark.parametrize("name", CASES)
def test_greedy_agrees_with_scikit_matter(name):
    X = oracle_matrix(name)
    case = CASES[name]
    _, S, Vt = np.linalg.svd(X, full_matrices=False)
    ordered = module._greedy(S[:, None] * Vt, case["k"], case["columns"])
    twins = {copy: original for copy, original in case["twins"]}
    assert [twins.get(j, j) for j in ordered] == [
        twins.get(j, j) for j in REFERENCE[f"{name}.columns"].tolist()
    ]
    assert_array(select_columns(X, case["k"], case["columns"], "greedy"), np.sort(ordered))
    rows = select_columns(X.T, case["k"], case["rows"], "greedy")
    assert_array(rows, np.sort(REFERENCE[f"{name}.rows"]))
    ours = cur(X, case["k"], n_columns=case["columns"], n_rows=case["rows"], how="greedy")
    assert_array(ours.error, float(REFERENCE[f"{name}.error"]), rtol=1e-8)


@settings(max_examples=40, deadline=None)
@given(matrices(), st.sampled_from(["greedy", "deim"]))
def test_greedy_and_deim_never_pick_a_copy(case, how):
    X, k = case
    twice = np.hstack([X, X])
    rank = np.linalg.matrix_rank(X, tol=1e-10 * np.linalg.norm(X))
    chosen = select_columns(twice, k, rank, how)
    assert len(set(chosen % X.shape[1])) == rank
    assert np.linalg.matrix_rank(twice[:, chosen], tol=1e-9 * np.linalg.norm(X)) == rank
    assume(rank < X.shape[1])
    with pytest.raises(InputError, match=str(rank)):
        select_columns(twice, k, rank + 1, how)


def test_top_picks_copies_and_greedy_does_not():
    X = np.array([[3.0, 0, 0, 3], [0, 2, 0, 0], [0, 0, 1, 0]])
    assert_array(select_columns(X, 2, 3, "top"), [0, 1, 3])
    assert_array(select_columns(X, 2, 3, "greedy"), [0, 1, 2])
    assert_array(select_columns(X, 2, 3, "deim"), [0, 1, 2])


def test_constant_columns_are_never_chosen_by_leverage():
    X = np.random.default_rng(0).normal(size=(20, 6))
    X = X - X.mean(axis=0)
    X[:, [1, 4]] = 0
    for how in ("top", "greedy", "deim", "leverage"):
        assert not {1, 4} & set(select_columns(X, 2, 4, how))


@pytest.mark.parametrize("how", RULES)
def test_rules_follow_the_seed_and_stay_in_range(how):
    X = decaying(30, 20)
    picks = [select_columns(X, 3, 7, how, seed=seed) for seed in (0, 0, 1)]
    assert_array(picks[0], picks[1])
    assert all((np.diff(pick) > 0).all() and pick[0] >= 0 and pick[-1] < 20 for pick in picks)
    assert (how in ("leverage", "random")) == (picks[0].tolist() != picks[2].tolist())


def test_leverage_sampling_follows_the_scores():
    X = np.diag([3.0, 2.0, 1.0, 0.5]) @ np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    score = leverage_scores(X, 2)
    counts = np.bincount([select_columns(X, 2, 1, seed=seed)[0] for seed in range(2000)], minlength=4)
    assert_array(counts / 2000, score / 2, atol=0.04)


def test_deim_by_its_definition():
    X = decaying(25, 12, seed=4)
    Vt = np.linalg.svd(X)[2]
    chosen = [int(np.abs(Vt[0]).argmax())]
    for j in range(1, 5):
        weights = np.linalg.solve(Vt[:j, chosen].T, Vt[j, chosen])
        chosen.append(int(np.abs(Vt[j] - Vt[:j].T @ weights).argmax()))
    assert_array(select_columns(X, 2, 5, "deim"), np.sort(chosen))


# ---- CUR ----


@settings(max_examples=60, deadline=None)
@given(matrices(), st.sampled_from(SELECTIONS), st.integers(0, 50))
def test_error_of_cur(case, how, seed):
    X, k = case
    S = np.linalg.svd(X)[1]
    found = cur(X, k, n_columns=k, n_rows=k, how=how, seed=seed)
    residual = X - found.C @ np.linalg.pinv(found.C) @ X @ np.linalg.pinv(found.R) @ found.R
    assert_array(found.error, np.linalg.norm(residual) / np.linalg.norm(X), rtol=1e-6, atol=1e-9)
    assert_array(found.optimal_error, np.linalg.norm(S[k:]) / np.linalg.norm(S), atol=1e-9)
    assert found.error >= found.optimal_error - 1e-9
    assert_array(found.C, X[:, found.columns])
    assert_array(found.R, X[found.rows])
    assert_array(found.columns, select_columns(X, k, k, how, seed))


def test_cur_by_hand():
    found = cur(DIAGONAL, 2, n_columns=2, n_rows=2, how="top")
    assert_array(found.columns, [0, 1])
    assert_array(found.rows, [0, 1])
    assert_array(found.U, np.diag([1 / 3, 1 / 2]))
    assert_array([found.error, found.optimal_error], [1 / np.sqrt(14)] * 2)
    everything = cur(DIAGONAL, 3, how="top")
    assert everything.error < 1e-15
    assert_array(everything.U, np.diag([1 / 3, 1 / 2, 1]))


def test_small_errors_are_not_lost_in_rounding():
    X = np.diag([1.0, 1e-6, 1e-9])
    found = cur(X, 1, n_columns=2, n_rows=2, how="top")
    assert_array(found.error, 1e-9, rtol=1e-6)


def test_default_sizes():
    X = decaying(60, 40)
    assert [len(cur(X, 3).columns), len(cur(X, 3).rows)] == [12, 12]
    assert len(cur(X, 20).columns) == 40
    assert len(cur(X, 5, how="deim").columns) == 5
    assert len(cur(DIAGONAL, 2, how="greedy").columns) == 3
    assert cur(X, 0.9).k == choose_rank(X, 0.9)


def test_cur_of_a_large_matrix():
    X = decaying(800, 620)
    found = cur(X, 10, n_columns=20, n_rows=20, how="deim")
    residual = X - found.C @ found.U @ found.R
    assert_array(found.error, np.linalg.norm(residual) / np.linalg.norm(X), rtol=1e-6)
    S = 1 / np.arange(1, 621)
    assert_array(found.optimal_error, np.linalg.norm(S[10:]) / np.linalg.norm(S), rtol=1e-6)
    assert found.error > np.linalg.norm(S[20:]) / np.linalg.norm(S)


def test_selection_errors_against_projections():
    X = decaying(40, 25)
    X[:, 3] = X[:, 0]
    frame = selection_errors(X, 4, [12, 3, 6], seeds=(0, 1))
    assert frame.columns.tolist() == ["how", "n_columns", "seed", "error", "optimal_error"]
    assert frame.groupby("how").size().to_dict() == {
        "leverage": 6,
        "random": 6,
        "top": 3,
        "greedy": 3,
        "deim": 3,
    }
    S = np.linalg.svd(X)[1]
    for row in frame.itertuples():
        C = X[:, select_columns(X, 4, row.n_columns, row.how, row.seed)]
        if row.how != "deim" or row.n_columns == 12:
            expected = np.linalg.norm(X - C @ np.linalg.pinv(C) @ X) / np.linalg.norm(X)
            assert_array(row.error, expected, rtol=1e-6)
        assert_array(row.optimal_error, np.linalg.norm(S[row.n_columns :]) / np.linalg.norm(S), rtol=1e-6)
        assert row.error >= row.optimal_error - 1e-9


def test_a_copy_takes_nothing_away():
    X = np.array([[3.0, 3, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    frame = selection_errors(X, 3, [1, 2, 3, 4], ["top"])
    order = module._order(np.linalg.svd(X, full_matrices=False)[1][:, None], 1, 1, "top", 1, 0)
    assert len(order) == 1
    assert_array(module._errors(X, np.array([0, 1, 2]), [1, 2, 3]), np.sqrt([5 / 23, 5 / 23, 1 / 23]))
    assert_array(frame.error.iloc[-1], 0.0, atol=1e-7)


# ---- what is refused ----


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("use", [leverage_scores, cur, pca, top_singular])
def test_values_that_are_not_finite(use, value):
    X = np.ones((4, 3))
    X[2, 1] = value
    with pytest.raises(InputError, match="row 2, column 1"):
        use(X, 1)
    with pytest.raises(InputError, match="row 2, column 1"):
        select_columns(X, 1, 2, "random")


@pytest.mark.parametrize("k", [0, -1, 4, 2.5, np.nan, np.inf, True, "2", None])
@pytest.mark.parametrize("use", [leverage_scores, pca, cur, top_singular])
def test_rank_out_of_range(use, k):
    with pytest.raises(InputError, match="`k"):
        use(DIAGONAL, k)


@pytest.mark.parametrize("size", [0, -2, 2.5, 4, np.nan])
def test_sizes_out_of_range(size):
    for call in (
        lambda: select_columns(DIAGONAL, 1, size),
        lambda: cur(DIAGONAL, 1, n_columns=size),
        lambda: cur(DIAGONAL, 1, n_rows=size),
        lambda: selection_errors(DIAGONAL, 1, [size]),
    ):
        with pytest.raises(InputError, match="has only 3|whole number"):
            call()
    with pytest.raises(InputError, match="`n_columns` = 9, but `X` has only 3 columns; ask for 3 or fewer"):
        cur(DIAGONAL, 1, n_columns=9)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,), (2, 2, 2)])
def test_matrices_without_entries(shape):
    with pytest.raises(InputError, match="must be a matrix"):
        cur(np.zeros(shape), 1)
    with pytest.raises(InputError, match="must be a matrix"):
        pca(np.zeros(shape), 1)


def test_matrices_of_zeros_and_constants():
    with pytest.raises(InputError, match="zero everywhere"):
        leverage_scores(np.zeros((5, 3)), 1)
    with pytest.raises(InputError, match="constant"):
        pca(np.ones((5, 3)), 1)
    with pytest.raises(InputError, match="zero everywhere"):
        choose_rank(np.zeros((900, 800)))
    with pytest.raises(InputError, match="Did you mean 'greedy'"):
        cur(DIAGONAL, 1, how="greddy")


def test_fewer_rows_than_columns():
    X = decaying(5, 30)
    assert_array(leverage_scores(X, 5).sum(), 5.0)
    assert_array(leverage_scores(X, 5, axis="rows"), np.ones(5))
    assert cur(X, 5, how="deim").error < 1e-10
    with pytest.raises(InputError, match="from 1 to 5"):
        leverage_scores(X, 6)


def test_inputs_are_left_alone():
    X = decaying(20, 10)
    before = X.copy()
    for how in SELECTIONS:
        cur(X, 3, how=how)
    selection_errors(X, 3, [4])
    block_leverage({"a": X, "b": X[:, :4]}, k=3)
    assert_array(X, before)


# ---- blocks ----


def planted(n=300, seed=0, noise=0.1):
    """Twins see hidden quantities 0-2, `alone` 3-5, `weak` number 6; 15 columns each."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 7))
    seen = {"twin 1": [0, 1, 2], "twin 2": [0, 1, 2], "alone": [3, 4, 5], "weak": [6]}
    return {
        name: hidden[:, which] @ rng.normal(size=(len(which), 15)) + noise * rng.normal(size=(n, 15))
        for name, which in seen.items()
    }


def test_masses_by_hand():
    a = np.array([[1.0], [-1], [1], [-1]])
    c = np.array([[5.0], [5], [-5], [-5]])
    found = block_leverage({"A": a, "B": 100 * a + 7, "C": c}, k=2, n_boot=0)
    assert_array(found.mass, [0.5, 0.5, 1.0])
    assert_array(found.curve, [[0.5, 0.5, 0], [0.5, 0.5, 1]])
    assert_array(found.removal, [[np.nan, 0.5, 0], [0.5, np.nan, 0], [0, 0, np.nan]])
    assert_array(found.own, [0, 0, 1])
    assert found.explained == pytest.approx(1)
    assert np.isnan(found.low).all() and np.isnan(found.high).all()
    frame = found.to_frame()
    assert frame.columns.tolist() == ["mass", "low", "high", "share", "columns", "expected"]
    assert_array(frame.expected, [2 / 3] * 3)


def test_laws_of_masses():
    blocks = planted()
    found = block_leverage(blocks, k=7)
    assert_array(found.mass.sum(), 7.0, rtol=1e-9)
    assert_array(found.curve.sum(axis=1), np.arange(1.0, 8), rtol=1e-9)
    assert_array(found.curve.loc[7], found.mass, rtol=1e-9)
    assert_array(found.scores.groupby("block", sort=False).leverage.sum(), found.mass, rtol=1e-9)
    assert_array(found.removal.sum(), found.mass - found.own, atol=1e-8)
    assert ((found.low <= found.mass) & (found.mass <= found.high) & (found.low < found.high)).all()
    order = ["weak", "alone", "twin 2", "twin 1"]
    other = block_leverage({name: blocks[name] for name in order}, k=7, n_boot=0)
    assert_array(other.to_frame().mass[list(blocks)], found.mass, rtol=1e-8)
    assert_array(other.removal.loc[list(blocks), list(blocks)], found.removal, atol=1e-7)
    rows = np.random.default_rng(1).permutation(300)
    moved = block_leverage({name: 5 * Z[rows] - 3 for name, Z in blocks.items()}, k=7, n_boot=0)
    assert_array(moved.mass, found.mass, rtol=1e-8)


def test_planted_twins_share_and_the_others_do_not():
    found = block_leverage(planted(), k=7)
    assert_array(found.mass, [1.5, 1.5, 3, 1], atol=0.1)
    assert_array(found.own, [0, 0, 3, 1])
    assert_array(found.removal.loc["twin 1", "twin 2"], 1.5, atol=0.1)
    assert np.abs(found.removal.loc[["alone", "weak"]].to_numpy()[:, :2]).max() < 0.1
    assert np.abs(found.removal[["alone", "weak"]].to_numpy()[:2]).max() < 0.1


def test_scores_are_those_of_the_scaled_matrix():
    blocks = planted()
    X = np.hstack([(Z - Z.mean(axis=0)) / np.linalg.norm(Z - Z.mean(axis=0)) for Z in blocks.values()])
    found = block_leverage(blocks, k=7, n_boot=0)
    assert_array(found.scores.leverage, leverage_scores(X, 7), atol=1e-10)
    assert_array(found.scores.column, np.arange(60))
    assert_array(found.scores.feature, np.tile(np.arange(15), 4))


def test_removal_is_that_of_the_matrix_without_the_block():
    rng = np.random.default_rng(0)
    common = rng.normal(size=(500, 30)) / np.arange(1, 31)
    blocks = {f"b{i}": common @ rng.normal(size=(30, 60)) for i in range(12)}
    blocks = {name: Z + 0.05 * rng.normal(size=Z.shape) for name, Z in blocks.items()}
    found = block_leverage(blocks, k=8, n_boot=0)
    for gone in ("b0", "b7"):
        rest = {name: Z for name, Z in blocks.items() if name != gone}
        direct = block_leverage(rest, k=int(8 - found.own[found.names.index(gone)]), n_boot=0)
        kept = [name for name in found.names if name != gone]
        expected = direct.mass - found.to_frame().mass[kept].to_numpy()
        assert_array(found.removal.loc[kept, gone], expected, atol=2e-3)


@pytest.mark.parametrize("n", [150, 1200])
def test_intervals_agree_with_a_plain_bootstrap(n):
    blocks = planted(n, noise=2.0)
    found = block_leverage(blocks, k=3, n_boot=600, level=0.9)
    X = np.hstack([(Z - Z.mean(axis=0)) / np.linalg.norm(Z - Z.mean(axis=0)) for Z in blocks.values()])
    rng = np.random.default_rng(9)
    masses = []
    for _ in range(600):
        Y = X[rng.integers(0, n, n)]
        V = np.linalg.eigh(np.cov(Y.T))[1][:, -3:]
        masses.append((V**2).sum(axis=1).reshape(4, 15).sum(axis=1))
    width = np.quantile(masses, 0.95, axis=0) - np.quantile(masses, 0.05, axis=0)
    assert_array(found.high - found.low, width, rtol=0.25)


def test_intervals_follow_seed_level_and_number_of_molecules():
    blocks = planted(1000, noise=1.0)
    wide = block_leverage({name: Z[:100] for name, Z in blocks.items()}, k=7)
    narrow = block_leverage(blocks, k=7)
    again = block_leverage(blocks, k=7)
    assert_array(narrow.low, again.low)
    assert (narrow.high - narrow.low).mean() < 0.6 * (wide.high - wide.low).mean()
    inner = block_leverage(blocks, k=7, level=0.5)
    assert (inner.high - inner.low < narrow.high - narrow.low).all()


def test_one_block_dead_columns_and_dead_blocks():
    Z = decaying(40, 6)
    Z[:, 2] = 3
    one = block_leverage({"only": Z}, k=4)
    assert_array([one.mass[0], one.low[0], one.high[0]], [4.0, 4.0, 4.0])
    assert_array(one.scores.column, [0, 1, 3, 4, 5])
    assert_array(one.own, [4])
    two = block_leverage({"dead": np.ones((40, 3)), "only": Z}, k=4)
    assert_array(two.mass, [0.0, 4.0])
    assert_array(two.scores.column, [3, 4, 6, 7, 8])
    assert_array(two.to_frame()["columns"], [0, 5])
    assert_array(two.removal, [[np.nan, 0], [0, np.nan]], atol=1e-12)


def test_rounding_of_a_collapsed_float32_block_is_no_space():
    """Rows equal but for the last digit; rounding that goes along with a quantity of the molecules is still rounding."""
    rng = np.random.default_rng(0)
    size = rng.integers(3, 20, 60)
    row = rng.uniform(1, 2, 12).astype(np.float32)
    above = (size[:, None] > 10) ^ (rng.random((60, 12)) < 0.1)
    collapsed = np.where(above, np.nextafter(row, np.float32(3)), row)
    assert (np.ptp(collapsed, axis=0) > 0).all() and block_scaler(collapsed) is None
    blocks = {"good": decaying(60, 9).astype(np.float32), "collapsed": collapsed}
    found = block_leverage(blocks, k=5)
    assert_array(found.mass, [5.0, 0.0], atol=1e-12)
    assert_array(found.scores.column, np.arange(9))
    same = block_leverage(blocks | {"collapsed": np.ones((60, 12))}, k=5)
    assert_array(found.low, same.low, rtol=0)
    with pytest.raises(InputError, match="no column of any block varies"):
        block_leverage(EmbeddingBlocks({"collapsed": collapsed}, [f"C{i}" for i in range(60)]))


def test_blocks_that_vary_keep_their_digits_in_any_precision():
    Z = decaying(60, 9).astype(np.float32)
    found = block_leverage({"a": Z, "b": Z[:, ::2] ** 2}, k=5)
    cast = block_leverage({"a": Z.astype(np.float64), "b": (Z[:, ::2] ** 2).astype(np.float64)}, k=5)
    assert_array(found.mass, cast.mass, rtol=0)
    assert_array(found.high, cast.high, rtol=0)
    whole = np.random.default_rng(0).integers(0, 5, (60, 4))
    for kind in (object, np.int8, np.float16):
        assert_array(block_leverage({"a": whole.astype(kind)}, k=2).mass, [2.0])


def test_the_scaler_of_a_block_refuses_what_is_not_finite():
    with pytest.raises(InputError, match="nan at row 1"):
        block_scaler(np.array([[1.0], [np.nan]]))
    with np.errstate(over="ignore"), pytest.raises(InputError, match="no column"):
        block_scaler(np.array([[1e200], [-1e200]]))  # varies, and how: not constant


def test_embedding_blocks_ranks_and_default_rank():
    blocks = planted()
    smiles = [f"C{i}" for i in range(300)]
    found = block_leverage(EmbeddingBlocks(blocks, smiles), ranks=[2, 9], n_boot=0)
    X = np.hstack([(Z - Z.mean(axis=0)) / np.linalg.norm(Z - Z.mean(axis=0)) for Z in blocks.values()])
    assert found.k == choose_rank(X, 0.99)
    assert found.curve.index.tolist() == [2, 9]
    assert_array(found.curve.loc[9], leverage_scores(X, 9).reshape(4, 15).sum(axis=1), atol=1e-9)
    assert "twin 1" in repr(found)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({}, "empty"),
        ({"A": np.ones((4, 2)), "B": np.eye(3)}, "'B' has 3 rows, the blocks before it 4"),
        ({"A": np.eye(3), "B": np.full((3, 2), np.nan)}, "'B' holds nan at row 0, column 0"),
        ({"A": np.array([[1.0], [np.inf]])}, "'A' holds inf at row 1"),
        ({"A": np.ones((4, 2))}, "no column"),
        ({"A": np.ones(4)}, "'A' must be a matrix"),
        ({"A": np.ones((0, 4))}, "'A' must be a matrix"),
        (np.ones((4, 2)), "mapping"),
    ],
)
def test_blocks_that_are_refused(blocks, message):
    with pytest.raises(InputError, match=message):
        block_leverage(blocks)


def test_other_parameters_that_are_refused():
    blocks = planted(60)
    for wrong in (
        {"k": 0},
        {"k": 60},
        {"k": 1.5},
        {"n_boot": -1},
        {"level": 1.0},
        {"ranks": [0]},
        {"ranks": [61]},
    ):
        with pytest.raises(InputError):
            block_leverage(blocks, **wrong)
    tied = {"a": np.array([[1.0], [-1], [1], [-1]]), "b": np.array([[1.0], [1], [-1], [-1]])}
    with pytest.raises(InputError, match="nearest rank with a gap is 2"):
        block_leverage(tied, k=1)
    assert block_leverage(tied, 0.4, n_boot=0).k == 2


def test_right_singular_methods_agree():
    X = decaying(60, 30)
    S, Vt = right_singular(X, "exact")
    for method in ("gram", "krylov"):
        S_other, Vt_other = top_singular(X, 4, method)
        assert_array(S_other[:4], S[:4], rtol=1e-9)
        assert_array(np.abs(np.sum(Vt_other[:4] * Vt[:4], axis=1)), np.ones(4), rtol=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_greedy_and_deim_choose_better_than_chance_on_blocks_that_share_hidden_quantities(seed):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(700, 24))
    blocks = {}
    for b in range(9):
        mixing = rng.normal(size=(6, 80)) / np.arange(1, 7)[:, None]
        seen = hidden[:, rng.choice(24, 6, replace=False)] @ mixing + 0.05 * rng.normal(size=(700, 80))
        blocks[str(b)] = np.maximum(seen + 0.3 * rng.normal(size=80), 0)
    X = module._scaled_blocks(blocks)[1]
    assert min(X.shape) > module.GRAM_FROM  # the rule works in the leading directions only
    frame = selection_errors(X, 15, [10, 30, 60], seeds=range(5))
    error = frame.pivot_table(index="n_columns", columns="how", values="error")
    assert (error["greedy"] < error["leverage"]).all() and (error["greedy"] < 0.98 * error["random"]).all()
    assert (error["deim"] < 0.98 * error["random"]).all()
    assert (error.min(axis=1) >= frame.groupby("n_columns")["optimal_error"].first() - 1e-9).all()


def test_nothing_needs_explaining_when_all_that_is_left_may_stay_unexplained():
    """Two independent blocks of norm 1 at k = 1: three quarters of the variance or more may stay, and a lone block has half."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(60, 9))
    Z = np.linalg.qr(drawn - drawn.mean(axis=0))[0] * 0.9 ** np.arange(9)
    found = block_leverage({"a": Z[:, [0, 2, 4, 6, 8]], "b": Z[:, [1, 3, 5, 7]]}, k=1, n_boot=0)
    assert found.explained < 0.5
    assert_array(found.own, [1, 1])


@pytest.mark.parametrize(
    ("k", "n_columns", "n_rows"), [(10, None, None), (40, 60, 200), (40, 200, 60), (200, 10, 10)]
)
def test_large_greedy_decompositions_take_the_columns_of_select_columns(k, n_columns, n_rows):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(1300, 1000)) * (np.arange(1, 1001) ** -0.5)
    made = cur(X, k, n_columns=n_columns, n_rows=n_rows, how="greedy")
    assert_array(made.columns, select_columns(X, k, n_columns or 4 * k, "greedy"))
    assert_array(made.rows, select_columns(X.T, k, n_rows or 4 * k, "greedy"))


def test_text_is_no_matrix():
    with pytest.raises(InputError, match="`X` must be a matrix of numbers"):
        pca([["a", "b"], ["c", "d"]], 1)


def test_seeds_ranks_and_sizes_that_cannot_be_used():
    X = decaying(30, 6)
    blocks = {"A": X, "B": decaying(30, 5)}
    for wrong, message in (
        (lambda: select_columns(X, 2, 2, seed=-1), "`seed` must be"),
        (lambda: block_leverage(blocks, 3, n_boot=20, seed=-1), "`seed` must be"),
        (lambda: block_leverage(blocks, 3, ranks=[]), r"`ranks` must be a list of ranks.*got \[\]"),
        (lambda: block_leverage(blocks, 3, ranks=3), "`ranks` must be a list of ranks.*got 3"),
        (lambda: selection_errors(X, 2, []), "`sizes` is empty"),
    ):
        with pytest.raises(InputError, match=message):
            wrong()
