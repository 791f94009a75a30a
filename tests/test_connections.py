"""Connections: every measure's laws and oracles, what repetitions compute, alignment, planted truths, refusals."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import subspace_angles
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_info, threadpool_limits

from fusionbook.connections import (
    MEASURES,
    PENALTIES,
    Connections,
    _place,
    compare_spaces,
    connection_network,
    connections,
    read_space,
    transfer_matrix,
)
from fusionbook.core import InputError, assert_array
from fusionbook.embeddings import EmbeddingBlocks
from fusionbook.molecules import MoleculeTable, Split, Task

NAMES = list(MEASURES)
SYMMETRIC = [name for name in NAMES if MEASURES[name].symmetric]
TWINS = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)


def rotation(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def pair(seed, n=80, d=6, m=9, noise=0.5):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 3))
    X = hidden @ rng.normal(size=(3, d)) + noise * rng.normal(size=(n, d))
    Y = hidden @ rng.normal(size=(3, m)) + noise * rng.normal(size=(n, m))
    return X, Y


def planted(seed, n=300, strength=2.0, floor_strength=0.2):
    """Two views of the same hidden numbers and one of nothing; another seed; untrained ones that see a little."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 4))

    def view(strength):
        return strength * hidden @ rng.normal(size=(4, 10)) + rng.normal(size=(n, 10))

    blocks = {"one": view(strength), "two": view(strength), "noise": view(0)}
    again = {"one": view(strength), "two": view(strength), "noise": view(0)}
    return blocks, again, {f"u{i}": view(floor_strength) for i in range(2)}


def smiles_of(n):
    return [f"[{i + 1}CH4]" for i in range(n)]


def test_the_list_of_measures():
    assert NAMES == [
        "cka",
        "cka_debiased",
        "reconstruction",
        "svcca",
        "pwcca",
        "procrustes",
        "rsa",
        "knn",
    ]
    assert [name for name in NAMES if not MEASURES[name].symmetric] == ["reconstruction", "pwcca"]
    assert [name for name in NAMES if not MEASURES[name].higher_is_closer] == ["reconstruction", "procrustes"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_laws(name, seed):
    rng = np.random.default_rng(seed)
    X, Y = pair(seed)
    value = compare_spaces(X, Y, name)
    turned = 0.01 * X @ rotation(rng, X.shape[1]) - 5
    assert_array(compare_spaces(turned, Y, name), value, rtol=1e-6, atol=1e-6)
    if name != "pwcca":  # its weights look at the target's own columns, one by one
        turned = 100 * Y @ rotation(rng, Y.shape[1]) + 5
        assert_array(compare_spaces(X, turned, name), value, rtol=1e-6, atol=1e-6)
    assert_array(compare_spaces(X, 3 * Y, name), value, rtol=1e-6, atol=1e-6)
    assert_array(
        compare_spaces(X, X, name), 1.0 if MEASURES[name].higher_is_closer else 0.0, atol=1e-5, rtol=0
    )
    if name in SYMMETRIC:
        assert_array(compare_spaces(Y, X, name), value, rtol=1e-6, atol=1e-6)
    else:
        assert abs(compare_spaces(Y, X, name) - value) > 1e-3
    assert MEASURES[name].lowest <= value <= 1


@pytest.mark.parametrize("name", [name for name in SYMMETRIC if name != "cka_debiased"])
def test_order_of_molecules_does_not_matter(name):
    X, Y = pair(3)
    order = np.random.default_rng(0).permutation(len(X))
    assert_array(compare_spaces(X[order], Y[order], name), compare_spaces(X, Y, name), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(80, 6, 9), (25, 40, 60)])
def test_gram_form_equals_feature_form(shape):
    n, d, m = shape
    X, Y = pair(0, n, d, m)
    H = np.eye(n) - 1 / n
    K, L = (H @ Z @ Z.T @ H for Z in (X, Y))
    assert_array(
        compare_spaces(X, Y, "cka"), np.sum(K * L) / np.sqrt(np.sum(K * K) * np.sum(L * L)), rtol=1e-8
    )

    def hsic(K, L):
        K, L = (M - np.diag(np.diag(M)) for M in (K, L))
        return (K * L).sum() + K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (K @ L).sum()

    slow = hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))
    assert_array(compare_spaces(X, Y, "cka_debiased"), slow, rtol=1e-8)


def test_debiased_is_unbiased_for_noise():
    rng = np.random.default_rng(0)
    values = [
        [
            compare_spaces(rng.normal(size=(30, 50)), rng.normal(size=(30, 60)), name)
            for name in ("cka", "cka_debiased")
        ]
        for _ in range(60)
    ]
    plain, debiased = np.mean(values, axis=0)
    assert plain > 0.6
    assert abs(debiased) < 4 * np.std([v[1] for v in values]) / np.sqrt(60)


def test_canonical_correlations_against_scipy_and_under_invertible_maps():
    rng = np.random.default_rng(0)
    X, Y = pair(1, n=200, d=4, m=5, noise=1.0)
    oracle = np.cos(subspace_angles(X - X.mean(0), Y - Y.mean(0)))
    assert_array(compare_spaces(X, Y, "svcca"), oracle.mean(), rtol=1e-8)
    mixed = X @ (rotation(rng, 4) * [1, 2, 3, 4]) @ rotation(rng, 4)
    assert_array(compare_spaces(mixed, Y, "svcca"), oracle.mean(), rtol=1e-8)
    assert_array(compare_spaces(mixed, Y, "pwcca"), compare_spaces(X, Y, "pwcca"), rtol=1e-8)
    doubled = np.hstack([X, X[:, :2]])
    assert_array(compare_spaces(doubled, Y, "svcca"), oracle.mean(), rtol=1e-8)
    assert_array(compare_spaces(doubled, Y, "pwcca"), compare_spaces(X, Y, "pwcca"), rtol=1e-8)


def test_pwcca_by_hand_weights():
    X, Y = pair(2, n=150, d=3, m=3, noise=1.0)
    Yc = (Y - Y.mean(0)) / np.linalg.norm(Y - Y.mean(0))
    Qx, Qy = (np.linalg.qr(Z - Z.mean(0))[0] for Z in (X, Y))
    _, rho, Vt = np.linalg.svd(Qx.T @ Qy)
    weight = np.abs((Qy @ Vt.T).T @ Yc).sum(axis=1)
    assert_array(compare_spaces(X, Y, "pwcca"), weight @ rho / weight.sum(), rtol=1e-8)


def test_rsa_and_neighbours_against_oracles_with_ties():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, size=(60, 2)).astype(float)  # many equal distances
    Y = X + rng.normal(size=(60, 2))
    assert_array(compare_spaces(X, Y, "rsa"), spearmanr(pdist(X), pdist(Y)).statistic, atol=2e-6, rtol=0)
    A, B = pair(0, n=70)
    lists = [NearestNeighbors(n_neighbors=10).fit(Z).kneighbors(return_distance=False) for Z in (A, B)]
    overlap = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*lists)])
    assert_array(compare_spaces(A, B, "knn"), overlap)


def test_reconstruction_of_what_is_contained():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(200, 8))
    assert compare_spaces(A, A @ rng.normal(size=(8, 12)), "reconstruction") < 1e-4
    assert compare_spaces(A, A[:, :3], "reconstruction") < 1e-4
    assert compare_spaces(A[:, :3], A, "reconstruction") > 0.7
    assert compare_spaces(A, rng.normal(size=(200, 3)), "reconstruction") > 0.95
    assert compare_spaces(np.hstack([A, A]), A, "reconstruction") < 1e-4


def test_reconstruction_against_ridge_with_explicit_hat_matrices():
    """With many columns for few molecules the penalty matters; it is the one generalised cross-validation prefers."""
    X, Y = pair(0, n=60, d=24, m=9, noise=1.0)
    order = np.random.default_rng(0).permutation(60)
    X, Y = ((Z - Z.mean(0)) / np.linalg.norm(Z - Z.mean(0)) for Z in (X[order], Y[order]))
    Xc, Yc = X[:30] - X[:30].mean(0), Y[:30] - Y[:30].mean(0)
    largest = np.linalg.norm(Xc, 2) ** 2
    scores = []
    for penalty in PENALTIES * largest:
        hat = Xc @ np.linalg.solve(Xc.T @ Xc + penalty * np.eye(24), Xc.T)
        scores.append(np.sum((Yc - hat @ Yc) ** 2) / (29 - np.trace(hat)) ** 2)
    assert 0 < np.argmin(scores) < len(scores) - 1
    model = Ridge(PENALTIES[np.argmin(scores)] * largest).fit(X[:30], Y[:30])
    error = np.linalg.norm(Y[30:] - model.predict(X[30:])) / np.linalg.norm(Y[30:] - Y[:30].mean(0))
    assert 0.5 < error < 1
    inverse = np.argsort(order)
    assert_array(compare_spaces(X[inverse], Y[inverse], "reconstruction"), error, rtol=1e-7)


# what the repetitions compute


@pytest.mark.parametrize("name", NAMES)
def test_permuting_a_state_equals_permuting_the_molecules(name):
    tools = MEASURES[name]
    X, Y = pair(4)
    order = np.random.default_rng(1).permutation(len(X))
    a, b, moved = (tools.prepare(read_space(Z)) for Z in (X, Y, Y[order]))
    assert_array(tools.value(a, tools.permute(b, order)), tools.value(a, moved), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("rsa", "knn")])
def test_half_of_a_state_equals_half_of_the_molecules(name):
    tools = MEASURES[name]
    X, Y = pair(5, n=130, noise=1.0)
    rows = np.random.default_rng(1).permutation(len(X))[:100]
    states = [tools.prepare(read_space(Z)) for Z in (X, Y)]
    halves = [tools.half(state, rows) for state in states]
    fresh = [tools.prepare(read_space(Z[rows])) for Z in (X, Y)]
    tolerance = 0.05 if name == "pwcca" else 1e-6  # weights: another scale, the same columns
    assert_array(tools.value(*halves), tools.value(*fresh), rtol=tolerance)


def test_half_of_neighbours_and_ranks():
    X, Y = pair(6, n=50)
    rows = np.random.default_rng(1).permutation(50)[:30]
    tools = MEASURES["knn"]
    half = tools.half(tools.prepare(read_space(X)), rows)
    fresh = NearestNeighbors(n_neighbors=half.k).fit(X[rows]).kneighbors(return_distance=False)
    assert half.k == 4  # half of (50 - 1) // 5 = 9
    assert_array(half.nearest, fresh)
    tools = MEASURES["rsa"]
    halves = [tools.half(tools.prepare(read_space(Z)), rows) for Z in (X, Y)]
    assert abs(tools.value(*halves) - spearmanr(pdist(X[rows]), pdist(Y[rows])).statistic) < 0.02
    assert_array(tools.value(halves[0], halves[0]), 1.0, atol=1e-5)


def test_light_repetitions_have_the_mean_of_the_full_null():
    """The part left out of a permuted CKA is replaced by its mean; the mean over permutations is known exactly."""
    rng = np.random.default_rng(0)
    n = 150
    spaces = [read_space(rng.normal(size=(n, 120))) for _ in range(2)]
    tools = MEASURES["cka"]
    full = [tools.prepare(space) for space in spaces]
    light = [tools.light(space, state) for space, state in zip(spaces, full)]
    assert light[0].T.shape[1] == 100 < full[0].T.shape[1]
    found = [tools.value(light[0], tools.permute(light[1], rng.permutation(n))) for _ in range(200)]
    exact = 1 / (n - 1) / np.sqrt(full[0].gram * full[1].gram)
    assert_array(np.mean(found), exact, rtol=0.005)


@pytest.mark.parametrize("name", ["cka", "procrustes", "svcca", "knn"])
def test_null_and_interval_are_calibrated(name):
    beyond = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        blocks = {"a": rng.normal(size=(60, 5)), "b": rng.normal(size=(60, 5))}
        found = connections(blocks, measure=name, n_permutations=60, n_boot=20, seed=seed)
        nearer = found.value > found.null if found.higher_is_closer else found.value < found.null
        beyond += nearer[0, 1]
    assert beyond <= 7  # 2 expected; more than 7 of 40 has a probability of 0.1 %

    def draw(seed):
        return dict(zip("ab", pair_of_one_source(seed)))

    spread = np.std([compare_spaces(*draw(seed).values(), name) for seed in range(60)])
    found = connections(draw(0), measure=name)
    claimed = (found.high - found.low)[0, 1] / 3.92
    assert 0.6 < claimed / spread < 1.8


def pair_of_one_source(seed, n=300):
    source = np.random.default_rng(seed)
    maps = np.random.default_rng(99)
    hidden = source.normal(size=(n, 4))
    return [hidden @ maps.normal(size=(4, 8)) + 1.5 * source.normal(size=(n, 8)) for _ in range(2)]


# the whole


@pytest.mark.parametrize("name", NAMES)
def test_planted_truth(name):
    for seed in range(3):
        blocks, again, untrained = planted(seed)
        found = connections(blocks, measure=name, ceiling=again, floor=untrained, seed=seed)
        assert (found.clears == TWINS).all()
        twins = found.ceiling[:2]
        assert (
            (twins > found.null[0, 1]).all() if found.higher_is_closer else (twins < found.null[0, 1]).all()
        )
        network = connection_network(found)
        assert network.isolated == ["noise"]
        assert len(network.edges) == (1 if found.symmetric else 2) == 1 + network.directed
        near = network.nodes.set_index("name")[["x", "y"]]
        apart = np.linalg.norm(near.loc["one"] - near.loc["two"])
        if name != "knn":  # even twins share few neighbours
            assert apart < 0.9 * np.linalg.norm(near.loc["one"] - near.loc["noise"])


@pytest.mark.parametrize("name", NAMES)
def test_a_high_floor_removes_the_edge(name):
    """An untrained encoder that agrees with one of the twins better than the twins with each other."""
    blocks, _, untrained = planted(0)
    untrained["u0"] = untrained["u1"] = blocks["one"] @ rotation(np.random.default_rng(0), 10)
    found = connections(blocks, measure=name, floor=untrained)
    assert not found.clears.any()
    assert connection_network(found).edges.empty
    free = connections(blocks, measure=name)
    with pytest.warns(UserWarning, match="chance only"):
        assert not connection_network(free).edges.empty


@pytest.mark.parametrize("name", ["cka", "reconstruction", "pwcca", "knn"])
def test_every_entry_from_its_definition(name):
    blocks, again, untrained = planted(1, n=120)
    found = connections(
        blocks, measure=name, ceiling=again, floor=untrained, seed=5, n_boot=20, n_permutations=20
    )
    names = list(blocks)

    def m(A, B):
        return compare_spaces(A, B, name, seed=5)

    for i, a in enumerate(names):
        assert_array(found.ceiling[i], m(blocks[a], again[a]), rtol=1e-9)
        for j, b in enumerate(names):
            assert_array(found.value[i, j], m(blocks[a], blocks[b]), rtol=1e-9, atol=1e-9)
            out = [m(blocks[a], U) for U in untrained.values()]
            into = [m(U, blocks[b]) for U in untrained.values()]
            nearest = max(out + into) if found.higher_is_closer else min(out + into)
            assert_array(found.floor[i, j], nearest, rtol=1e-9)
    assert (found.low <= found.value).all() and (found.value <= found.high).all()
    assert_array(found.to_frame().loc["one", "two"], found.value[0, 1])
    long = found.to_long().set_index(["source", "target"])
    assert list(long.columns) == ["value", "low", "high", "null", "ceiling", "floor"]
    assert len(long) == 6
    worse = min if found.higher_is_closer else max
    assert long.at[("two", "noise"), "ceiling"] == worse(found.ceiling[1], found.ceiling[2])
    assert long.at[("two", "noise"), "value"] == found.value[1, 2]
    assert long.at[("two", "noise"), "floor"] == found.floor[1, 2]


def test_baselines_not_given_are_nan():
    blocks, _, _ = planted(0, n=60)
    found = connections(blocks, n_boot=20, n_permutations=20)
    assert found.ceiling is None and found.floor is None
    assert found.to_long()[["ceiling", "floor"]].isna().all(axis=None)


def test_the_same_seed_gives_the_same_numbers_and_nothing_is_edited():
    blocks, again, untrained = planted(0, n=100)
    before = {name: Z.copy() for name, Z in blocks.items()}
    state = np.random.get_state()[1].copy()
    one, two, other = (
        connections(blocks, ceiling=again, floor=untrained, n_boot=20, n_permutations=20, seed=s)
        for s in (0, 0, 1)
    )
    for field in ("value", "low", "high", "null", "ceiling", "floor"):
        assert_array(getattr(one, field), getattr(two, field), rtol=0)
    assert_array(one.value, other.value, rtol=1e-9)
    assert (one.null != other.null).any()
    assert (np.random.get_state()[1] == state).all()
    for name, Z in blocks.items():
        assert_array(Z, before[name], rtol=0)


def test_large_tables_are_sampled_and_small_ones_exact():
    X, Y = pair(0, n=500)
    found = connections({"X": X, "Y": Y}, max_molecules=200, n_boot=20, n_permutations=20)
    exact = connections({"X": X, "Y": Y}, n_boot=20, n_permutations=20)
    assert (found.n, found.n_total, exact.n, exact.n_total) == (200, 500, 500, 500)
    assert_array(exact.value[0, 1], compare_spaces(X, Y), rtol=1e-9)
    assert 0 < abs(found.value[0, 1] - exact.value[0, 1]) < 0.1
    assert "200 of 500" in repr(found) and "500 molecules" in repr(exact)


def test_rsa_repeats_on_fewer_molecules():
    X, Y = pair(0, n=1300)
    tools = MEASURES["rsa"]
    space = read_space(X)
    state = tools.prepare(space)
    assert len(state) == 1300 * 1299 / 2
    assert len(tools.light(space, state)) == 1000 * 999 / 2
    found = connections({"X": X, "Y": Y}, measure="rsa", n_boot=20, n_permutations=20)
    assert found.null[0, 1] < 0.05 < found.low[0, 1]


# alignment


def test_embeddings_are_matched_by_smiles():
    blocks, again, untrained = planted(0, n=90)
    smiles = smiles_of(90)
    order = np.random.default_rng(0).permutation(90)
    plain = connections(blocks, ceiling=again, floor=untrained, n_boot=20, n_permutations=20)
    matched = connections(
        EmbeddingBlocks(blocks, smiles),
        ceiling=EmbeddingBlocks(again, smiles).take(order),
        floor=EmbeddingBlocks(untrained, smiles).take(order[::-1]),
        n_boot=20,
        n_permutations=20,
    )
    for field in ("value", "low", "high", "null", "ceiling", "floor"):
        assert_array(getattr(matched, field), getattr(plain, field), rtol=0)


def test_extra_molecules_of_a_baseline_may_be_nan():
    blocks, again, _ = planted(0, n=60)
    smiles = smiles_of(61)
    longer = {name: np.vstack([Z, np.full(10, np.nan)]) for name, Z in again.items()}
    found = connections(
        EmbeddingBlocks(blocks, smiles[:60]),
        ceiling=EmbeddingBlocks(longer, smiles),
        n_boot=20,
        n_permutations=20,
    )
    assert np.isfinite(found.ceiling).all()


def test_unmatched_molecules_are_refused():
    blocks, again, _ = planted(0, n=60)
    embedded = EmbeddingBlocks(blocks, smiles_of(60))
    with pytest.raises(InputError, match=r"`ceiling`: 1 of 60 molecules are missing.*\[60CH4\]"):
        connections(embedded, ceiling=EmbeddingBlocks(again, smiles_of(60)).take(np.arange(59)))
    with pytest.raises(InputError, match="both as EmbeddingBlocks"):
        connections(embedded, ceiling=again)
    with pytest.raises(InputError, match="both as EmbeddingBlocks"):
        connections(blocks, floor=embedded)
    with pytest.raises(InputError, match="numbers of rows"):
        connections(blocks, floor={"u": np.ones((59, 2))})
    with pytest.raises(InputError, match="numbers of rows.*'two': 59"):
        connections({"one": blocks["one"], "two": blocks["two"][:59]})


# bad input


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("role", ["blocks", "ceiling", "floor"])
def test_values_that_are_not_finite(bad, role):
    parts = dict(zip(("blocks", "ceiling", "floor"), planted(0, n=60)))
    name = list(parts[role])[1]
    parts[role][name][17, 3] = bad
    with pytest.raises(InputError, match=rf"`{role}`: block '{name}'.* 1 of 60 rows; first: row 17\."):
        connections(parts.pop("blocks"), **parts)
    if role == "blocks":
        blocks = planted(0, n=60)[0]
        blocks["two"][17] = bad
        with pytest.raises(InputError, match=r"row 17 \('\[18CH4\]'\).*blocks\.take\(rows\)"):
            connections(EmbeddingBlocks(blocks, smiles_of(60)))


def test_refusals():
    blocks, again, _ = planted(0, n=60)
    with pytest.raises(InputError, match="single block"):
        connections({"one": blocks["one"]})
    with pytest.raises(InputError, match="no blocks"):
        connections({})
    with pytest.raises(InputError, match="got list"):
        connections([blocks["one"], blocks["two"]])
    with pytest.raises(InputError, match="'flat' is constant"):
        connections({"one": blocks["one"], "flat": np.full((60, 4), 0.1)})
    with pytest.raises(InputError, match="does not hold numbers"):
        connections({"one": blocks["one"], "text": np.full((60, 4), "a")})
    with pytest.raises(InputError, match=r"\(any, any\)"):
        connections({"one": blocks["one"], "row": np.ones(60)})
    with pytest.raises(InputError, match="empty"):
        connections({"one": blocks["one"], "none": np.ones((60, 0))})
    with pytest.raises(InputError, match="19 molecules are too few"):
        connections({name: Z[:19] for name, Z in blocks.items()})
    with pytest.raises(InputError, match="in `ceiling` named 'noise'"):
        connections(blocks, ceiling={"one": again["one"], "two": again["two"]})
    with pytest.raises(InputError, match="Did you mean 'procrustes'"):
        connections(blocks, measure="procrustus")
    for option in ({"n_boot": 5}, {"n_permutations": 19.5}, {"level": 1.0}, {"max_molecules": 3}):
        with pytest.raises(InputError, match=next(iter(option))):
            connections(blocks, **option)


# blocks that do not vary, or hardly


def collapsed(n=60, width=12):
    """Rows equal but for the last digit of float32; which of two neighbours it is goes along with the size of the molecule."""
    rng = np.random.default_rng(0)
    size = rng.integers(3, 20, n)
    row = rng.uniform(1, 2, width).astype(np.float32)
    above = (size[:, None] > 10) ^ (rng.random((n, width)) < 0.1)
    return np.where(above, np.nextafter(row, np.float32(3)), row), size[:, None].astype(float)


def test_rounding_of_a_collapsed_float32_block_is_no_space():
    Z, size = collapsed()
    with pytest.raises(InputError, match="'Z' is constant: all 60 molecules"):
        read_space(Z, "Z")
    for name in NAMES:
        with pytest.raises(InputError, match="'X' is constant"):
            compare_spaces(Z, size, name)
    X = np.random.default_rng(1).normal(size=(60, 3))
    for part in ({"floor": {"flat": Z}}, {"ceiling": {"flat": Z, "X": X}}):
        with pytest.raises(InputError, match="'flat' is constant"):
            connections({"flat": X, "X": X}, **part)
    with pytest.raises(InputError, match="'flat' is constant"):
        connections({"flat": Z, "X": X})
    with pytest.raises(InputError, match="'flat' is constant"):
        transfer_matrix({"flat": Z}, size, Split(np.arange(30), np.arange(30, 40), np.arange(40, 60)))


@pytest.mark.parametrize("name", NAMES)
def test_blocks_that_vary_keep_their_digits_in_any_precision(name):
    X, Y = (Z.astype(np.float32) for Z in pair(0))
    value = compare_spaces(X.astype(np.float64), Y.astype(np.float64), name)
    assert_array(compare_spaces(X, Y, name), value, rtol=0)
    loud = np.hstack([X, np.full((len(X), 1), 1e14)])  # one column alone does not make a block constant
    assert_array(compare_spaces(loud, Y, name), value, rtol=0 if name != "pwcca" else 1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [2, 3])
def test_two_or_three_molecules_are_too_few(name, n):
    X, Y = pair(0, n=n)
    with pytest.raises(InputError, match=f"^{n} molecules are too few .* give 4 or more"):
        compare_spaces(X, Y, name)
    X, Y = pair(0, n=4)
    assert MEASURES[name].lowest <= compare_spaces(X, Y, name) <= 1


def sparse(n, number, width=1, seed=0, offset=0.0):
    """Blocks that differ from a constant row in a few molecules only."""
    rng = np.random.default_rng(seed)
    Z = np.full((n, width), offset)
    Z[rng.permutation(n)[:number]] += rng.uniform(1, 2, size=(number, width))
    return Z


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n", "number"), [(40, 1), (60, 2), (128, 3)])
@pytest.mark.filterwarnings("error")
def test_blocks_that_vary_in_few_molecules(name, n, number):
    """No NaN and no warning; every number is one that the measure may take, and intervals hold the value."""
    blocks = {
        "few": sparse(n, number),
        "other": sparse(n, number, seed=1),
        "wide": sparse(n, number, 5, seed=2, offset=3.3).astype(np.float32),
        "full": np.random.default_rng(3).normal(size=(n, 4)),
    }
    found = connections(blocks, measure=name, ceiling=blocks, floor=blocks, n_boot=20, n_permutations=20)
    for what in (found.value, found.low, found.high, found.null, found.ceiling, found.floor):
        assert (what >= MEASURES[name].lowest - 1e-6).all() and (what <= 1 + 1e-6).all()
    assert (found.low <= found.value).all() and (found.value <= found.high).all()
    assert np.isfinite(found.to_long()["low"]).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "knn"])
@pytest.mark.parametrize("offset", [0.0, 3.3])
def test_a_half_in_which_a_block_is_constant_has_nothing_in_common(name, offset):
    tools = MEASURES[name]
    flat = sparse(60, 2, 3, offset=offset)
    rows = np.flatnonzero(flat[:, 0] == offset)[:30]
    halves = []
    for Z in (flat, np.random.default_rng(1).normal(size=(60, 4))):
        space = read_space(Z)
        halves.append(tools.half(tools.light(space, tools.prepare(space)), rows))
    nothing = 0.0 if tools.higher_is_closer else 1.0
    for a, b in ((0, 1), (1, 0), (0, 0)):
        assert_array(tools.value(halves[a], halves[b]), nothing, atol=1e-12)
    assert tools.value(halves[1], halves[1]) == pytest.approx(1 - nothing, abs=1e-3)


def test_a_direction_that_is_still_in_a_half_is_left_out_of_canonical_correlations():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 1))
    spike = np.zeros((60, 1))
    spike[7] = 5
    both = np.hstack([x, spike])
    rows = np.delete(np.arange(60), 7)
    for name in ("svcca", "pwcca"):
        tools = MEASURES[name]
        halves = [tools.half(tools.prepare(read_space(Z)), rows) for Z in (both, x)]
        assert halves[0].Q.shape == (59, 1)
        assert_array([tools.value(*halves), tools.value(*halves[::-1])], [1.0, 1.0], rtol=1e-9)


def test_the_fitting_half_of_a_reconstruction_may_be_constant():
    X = np.random.default_rng(1).normal(size=(40, 3))
    order = np.random.default_rng(0).permutation(40)
    held, fits = np.zeros((2, 40, 1))
    held[order[33]] = 1  # among the molecules that are held out: the half that fits is constant
    fits[order[3]] = 1
    assert_array(compare_spaces(X, held, "reconstruction"), 1.0)
    assert compare_spaces(held, X, "reconstruction") == 1
    assert compare_spaces(held, held, "reconstruction") == 1
    assert compare_spaces(fits, fits, "reconstruction") < 1e-6
    assert 0.9 < compare_spaces(X, fits, "reconstruction") < 1


def test_debiased_cka_of_a_block_in_which_one_molecule_differs():
    one, other = np.zeros((40, 1)), np.zeros((40, 2))
    one[3] = other[5] = 1
    X = np.random.default_rng(0).normal(size=(40, 3))
    assert compare_spaces(one, X, "cka_debiased") == 0
    assert compare_spaces(one, other, "cka_debiased") == 0
    other[9] = 1
    assert_array(compare_spaces(other, 3 * other, "cka_debiased"), 1.0)


def test_rsa_where_all_distances_are_equal():
    assert compare_spaces(np.eye(40), pair(0, n=40)[0], "rsa") == 0


@pytest.mark.parametrize("name", NAMES)
def test_fewer_molecules_than_columns(name):
    rng = np.random.default_rng(0)
    blocks = {key: rng.normal(size=(40, 100)) for key in "ab"}
    options = {"measure": name, "n_boot": 20, "n_permutations": 20}
    if name in ("cka", "svcca", "pwcca", "procrustes"):
        with pytest.warns(UserWarning, match="40 molecules and up to 100 columns.*cka_debiased"):
            found = connections(blocks, **options)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = connections(blocks, **options)
    assert not found.clears.any()


@pytest.mark.parametrize("name", NAMES)
def test_constant_and_duplicated_columns(name):
    X, Y = pair(0, n=100, d=10, noise=1.0)
    padded = np.hstack([X, np.full((100, 2), 0.1)])
    assert_array(compare_spaces(padded, Y, name), compare_spaces(X, Y, name), rtol=1e-6)
    doubled = np.hstack([X, X])  # the same space, twice
    assert_array(compare_spaces(doubled, Y, name), compare_spaces(X, Y, name), rtol=1e-5)
    found = connections({"X": X, "twice": doubled, "Y": Y}, measure=name, n_boot=20, n_permutations=20)
    assert np.isfinite([found.value, found.low, found.high, found.null]).all()


# transfer


def labelled(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6))
    Y = np.column_stack([X @ rng.normal(size=6) + rng.normal(size=n), X[:, 0], rng.normal(size=n)])
    split = Split(np.arange(100), np.arange(100, 140), np.arange(140, n))
    return X, Y, split


def test_transfer_against_scikit_learn():
    X, Y, split = labelled()
    Y[::3, 0] = np.nan
    found = transfer_matrix({"X": X, "part": X[:, :2]}, Y, split, names=["a", "b", "c"])
    train, valid, test = (rows[~np.isnan(Y[rows, 0])] for rows in (split.train, split.valid, split.test))
    scale = np.linalg.norm(X[split.train] - X[split.train].mean(0))
    largest = np.linalg.norm((X[train] - X[train].mean(0)) / scale, 2) ** 2
    models = [Ridge(penalty * largest).fit(X[train] / scale, Y[train, 0]) for penalty in PENALTIES]
    errors = [np.sum((Y[valid, 0] - model.predict(X[valid] / scale)) ** 2) for model in models]
    oracle = r2_score(Y[test, 0], models[np.argmin(errors)].predict(X[test] / scale))
    assert_array(found.r2.at["X", "a"], oracle, rtol=1e-8)
    assert found.r2.at["X", "b"] > 0.9999 and found.r2.at["X", "c"] < 0.1
    assert found.r2.at["part", "a"] < found.r2.at["X", "a"]
    assert (found.n_train["a"], found.n_test["a"]) == (len(train), len(test))
    both = ~np.isnan(Y[:, 0])
    assert found.n_shared.at["a", "b"] == both.sum()
    assert_array(found.correlation["pearson"].at["a", "b"], np.corrcoef(Y[both, 0], Y[both, 1])[0, 1])
    oracle = spearmanr(Y[both, 0], Y[both, 1]).statistic
    assert_array(found.correlation["spearman"].at["a", "b"], oracle)


def test_a_wide_block_and_few_molecules():
    rng = np.random.default_rng(0)
    X, Y, split = labelled()
    wide = np.hstack([X, 0.1 * rng.normal(size=(200, 300))])
    found = transfer_matrix({"wide": wide}, Y, split)
    assert 0.3 < found.r2.iloc[0, 0] < 1
    assert list(found.r2.columns) == ["property 1", "property 2", "property 3"]


def test_few_labels_are_nan_with_their_number():
    X, Y, split = labelled()
    Y[4:, 2] = np.nan
    Y[:, 1] = np.where(np.arange(200) < 150, 1.0, 2.0)  # constant over the training rows
    found = transfer_matrix({"X": X}, pd.DataFrame(Y, columns=["a", "b", "four"]), split)
    assert np.isfinite(found.r2.at["X", "a"])
    assert found.r2[["b", "four"]].isna().all(axis=None)
    assert found.n_train["four"] == 4 and found.n_test["four"] == 0
    assert np.isnan(found.pearson.at["a", "four"]) and found.n_shared.at["a", "four"] == 4
    frame = found.to_frame().set_index("property")
    assert frame["pearson"].isna().all()  # no block is named after a property
    named = transfer_matrix({"a": X}, pd.DataFrame(Y, columns=["a", "b", "four"]), split).to_frame()
    assert named["pearson"].tolist()[:2] == found.pearson.loc["a", ["a", "b"]].tolist()
    loose = transfer_matrix({"X": X}, Y[:, :1], split, min_labels=2)
    assert loose.n_valid.iloc[0] == 40


def test_transfer_matches_a_table_by_smiles():
    X, Y, split = labelled(60)
    split = Split(np.arange(30), np.arange(30, 40), np.arange(40, 60))
    smiles = ["C" * (i + 1) for i in range(60)]
    table = MoleculeTable(smiles, Y, (Task("a", "K"), Task("b"), Task("c")))
    order = np.random.default_rng(0).permutation(60)
    shuffled = EmbeddingBlocks({"X": X}, smiles).take(order)
    found = transfer_matrix(shuffled, table, split)
    assert_array(found.r2, transfer_matrix({"X": X}, Y, split).r2, rtol=1e-9)
    assert list(found.r2.columns) == ["a", "b", "c"]
    with pytest.raises(InputError, match="`blocks`: 1 of 60 molecules are missing"):
        transfer_matrix(shuffled.take(np.arange(59)), table, split)


def test_transfer_refusals():
    X, Y, split = labelled()
    with pytest.raises(InputError, match="split.*beyond"):
        transfer_matrix({"X": X}, Y, Split(np.arange(100), np.arange(100, 140), np.array([200])))
    with pytest.raises(InputError, match="199 molecules"):
        transfer_matrix({"X": X[:-1]}, Y, split)
    with pytest.raises(InputError, match="3 different names"):
        transfer_matrix({"X": X}, Y, split, names=["a", "a", "b"])
    with pytest.raises(InputError, match="'property 2' is infinite at row 5"):
        transfer_matrix({"X": X}, np.where(np.arange(600).reshape(200, 3) == 16, np.inf, Y), split)
    with pytest.raises(InputError, match="got ndarray"):
        transfer_matrix(X, Y, split)
    with pytest.raises(InputError, match="training rows"):
        transfer_matrix({"X": X}, Y, Split(np.array([], int), split.valid, split.test))
    broken = X.copy()
    broken[3] = np.nan
    with pytest.raises(InputError, match="row 3"):
        transfer_matrix({"X": broken}, Y, split)


# the network


def made_up(value, low=None, names=None, measure="cka", floor=0.3, null=0.1):
    value = np.asarray(value, dtype=float)
    b = len(value)
    low = value - 0.05 if low is None else low
    return Connections(
        measure,
        names or [f"n{i}" for i in range(b)],
        value,
        low,
        value + 0.05,
        np.full((b, b), null),
        None,
        np.full((b, b), floor),
        100,
        100,
        MEASURES[measure].higher_is_closer,
        0.95,
    )


def test_an_edge_needs_the_cautious_end_above_both_bars():
    value = np.array([[1, 0.5, 0.34, 0.2], [0.5, 1, 0.36, 0.2], [0.34, 0.36, 1, 0.2], [0.2, 0.2, 0.2, 1]])
    network = connection_network(made_up(value))
    assert network.edges[["source", "target"]].to_numpy().tolist() == [["n0", "n1"], ["n1", "n2"]]
    assert list(network.edges.columns) == ["source", "target", "value", "low", "high", "floor", "null"]
    assert network.isolated == ["n3"] and not network.directed
    assert len(connection_network(made_up(value, floor=0.05, null=0.4)).edges) == 1
    error = np.array([[0, 0.1, 0.9], [0.6, 0, 0.9], [0.9, 0.9, 0]])
    network = connection_network(made_up(error, measure="reconstruction", floor=0.5, null=0.8))
    assert network.edges[["source", "target"]].to_numpy().tolist() == [["n0", "n1"]] and network.directed


def test_an_edge_must_appear_in_every_replicate():
    first = made_up(np.array([[1, 0.5, 0.6], [0.5, 1, 0.2], [0.6, 0.2, 1]]))
    second = made_up(np.array([[1, 0.2, 0.5], [0.2, 1, 0.9], [0.5, 0.9, 1]]))
    for replicates in (second, [second], [second, first]):
        network = connection_network(first, replicates=replicates)
        assert network.edges[["source", "target"]].to_numpy().tolist() == [["n0", "n2"]]
        assert network.edges["value"].tolist() == [0.6]
        assert_array(network.nodes[["x", "y"]], connection_network(first).nodes[["x", "y"]], rtol=0)
    for other in (made_up(np.eye(3), names=["a", "b", "c"]), made_up(np.eye(3), measure="knn")):
        with pytest.raises(InputError, match="replicate 1 compares"):
            connection_network(first, replicates=[second, other])


def test_mass_is_taken_by_name():
    found = made_up(np.eye(3) + 0.5 * (1 - np.eye(3)), names=["a", "b", "c"])
    network = connection_network(found, mass=pd.Series({"c": 3.0, "a": 1.0, "b": 2.0, "other": 9.0}))
    assert network.nodes["mass"].tolist() == [1.0, 2.0, 3.0]
    assert connection_network(found).nodes["mass"].isna().all()
    with pytest.raises(InputError, match="in `mass` named 'c'"):
        connection_network(found, mass=pd.Series({"a": 1.0, "b": 1.0}))


def test_the_layout_is_stable_and_faithful():
    rng = np.random.default_rng(0)
    flat = rng.uniform(0, 0.6, size=(9, 2))
    D = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    P = _place(D, 0)
    assert np.abs(np.linalg.norm(P[:, None] - P[None], axis=2) - D).max() < 0.02
    assert_array(_place(D, 0), _place(D, 0), rtol=0)
    for seed in range(5):
        blocks, _, untrained = planted(seed)
        rows = np.random.default_rng(seed).permutation(300)[:285]
        places = [
            connection_network(
                connections(
                    {name: Z[part] for name, Z in blocks.items()},
                    floor={name: Z[part] for name, Z in untrained.items()},
                    n_boot=20,
                    n_permutations=20,
                )
            ).nodes[["x", "y"]]
            for part in (slice(None), rows)
        ]
        assert np.abs(places[0].to_numpy() - places[1].to_numpy()).max() < 0.1


def test_two_blocks_make_a_network():
    X, Y = pair(0)
    found = connections({"X": X, "Y": Y}, floor={"u": np.random.default_rng(0).normal(size=X.shape)})
    network = connection_network(found)
    assert len(network.edges) == 1
    assert_array(np.linalg.norm(np.diff(network.nodes[["x", "y"]], axis=0)), 1 - found.value[0, 1], atol=1e-4)


@pytest.mark.parametrize("name", ["cka", "reconstruction", "svcca"])
def test_the_number_of_threads_changes_nothing(name):
    blocks, again, untrained = planted(0, n=200)
    found = []
    for threads in (1, 3):
        with threadpool_limits(threads, "blas"):
            found.append(connections(blocks, measure=name, ceiling=again, floor=untrained, n_boot=20))
            left = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
            assert left == {threads}
    for field in ("value", "low", "high", "null", "ceiling", "floor"):
        assert_array(getattr(found[0], field), getattr(found[1], field), rtol=0, atol=0)


def test_labels_seeds_and_masses_as_they_come():
    X, Y = pair(0)
    blocks = {"X": X, "Y": Y}
    with pytest.raises(InputError, match="`seed` must be"):
        connections(blocks, seed=-1)
    split = Split(np.arange(50), np.arange(50, 65), np.arange(65, 80))
    frame = pd.DataFrame({"smiles": ["C"] * 80, "p": X[:, 0]})
    with pytest.raises(InputError, match="column 'smiles' of `table_or_Y` holds no numbers"):
        transfer_matrix(blocks, frame, split)
    found = connections(blocks, n_permutations=20, n_boot=20)
    assert connection_network(found, mass={"Y": 2.0, "X": 1.0}).nodes["mass"].tolist() == [1.0, 2.0]
