"""The three models: alignment, laws of fusion, refusals, and saving."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fusionbook import fusion
from fusionbook.core import InputError, ModelFileError, RowsWarning, TrainingWarning, assert_array
from fusionbook.embeddings import EmbeddingBlocks, fit_block_scaler
from fusionbook.explain import fit_intervals
from fusionbook.fusion import (
    FusedMultiTask,
    MeanPredictor,
    MultiTask,
    SingleTask,
    UntrainedEncoders,
    compare,
    encoders_to_fuse,
    fit_features,
    fit_fused_head,
    load_model,
    out_of_fold_blocks,
    ridge_path,
)
from fusionbook.graphs import D_V, pack_graphs
from fusionbook.molecules import MoleculeTable, Split, Task, split_molecules
from fusionbook.training import TrainConfig

pytestmark = pytest.mark.filterwarnings("ignore::fusionbook.core.TrainingWarning")


@pytest.fixture(scope="module")
def single(small_config, table, split):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        return SingleTask(small_config, n_models=2).fit(table, split)


@pytest.fixture(scope="module")
def fused(single, table, split):
    return FusedMultiTask(single).fit(table, split)


def test_predictions_follow_the_input_rows(fused):
    with pytest.warns(RowsWarning, match="2 of 4 rows"):
        out = fused.predict(["CCCO", "C1CC", None, "CCN"])
    assert out.isna().all(axis=1).tolist() == [False, True, True, False]
    np.testing.assert_allclose(out.iloc[[0, 3]], fused.predict(["CCCO", "CCN"]), rtol=1e-5)
    with pytest.raises(InputError, match="row 1"):
        fused.predict(["CCCO", "C1CC"], on_error="raise")
    with pytest.raises(InputError, match=r"\['CCO'\]"):
        fused.predict("CCO")


def test_what_else_stands_beside_the_molecules_does_not_matter(single, recwarn):
    """Neither numbers of rows nor cells that are no numbers: nothing is learned from them here."""
    frame = pd.DataFrame({"id": [1, 2, 3], "smiles": ["CCCO", "CCN", "C"], "logP": ["<5", "0,5", "1"]})
    out = single.predict(frame, on_error="raise")
    assert not [warning for warning in recwarn.list if issubclass(warning.category, RowsWarning)]
    pd.testing.assert_frame_equal(out, single.predict(["CCCO", "CCN", "C"]))


@pytest.mark.parametrize("reduce", [None, "pca", "cur"])
def test_a_collapsed_encoder_gives_the_head_no_columns(reduce):
    """Rows equal but for the last digit of float32 would be blown up to the size of every other block."""
    rng = np.random.default_rng(0)
    good = rng.normal(size=(60, 9)).astype(np.float32)
    row = rng.uniform(1, 2, 12).astype(np.float32)
    collapsed = np.where(rng.random((60, 1)) < 0.5, np.nextafter(row, np.float32(3)), row)
    smiles = ["C" * i for i in range(1, 61)]
    both = fit_features(EmbeddingBlocks({"good": good, "collapsed": collapsed}, smiles), reduce=reduce)
    assert both.scaler.columns.max() < 9
    alone = fit_features(EmbeddingBlocks({"good": good}, smiles), reduce=reduce)
    assert_array(
        both.transform(EmbeddingBlocks({"good": good, "collapsed": collapsed}, smiles)),
        alone.transform(EmbeddingBlocks({"good": good}, smiles)),
        rtol=1e-9,
    )


def test_embeddings_follow_the_input_rows(fused, single):
    with pytest.warns(RowsWarning):
        blocks = fused.embed(["CCCO", "", "CCN"])
    assert blocks.names == ["mass", "tpsa", "logP"]
    assert np.isnan(blocks["mass"][1]).all()
    np.testing.assert_allclose(
        blocks["tpsa"][[0, 2]], single.embed(["CCCO", "CCN"])["tpsa"], rtol=1e-5, atol=1e-7
    )


def test_every_form_of_input_gives_the_same_rows(single, tmp_path):
    texts = ["CCCO", " CCN ", "C1CC", None, "", "c1ccccc1 benzene"]
    frame = pd.DataFrame({"smiles": texts})
    frame.to_csv(tmp_path / "six.csv", index=False)
    lists = [
        texts,
        tuple(texts),
        frame["smiles"],
        frame["smiles"].astype("string"),
        np.array(texts, dtype=object),
    ]
    with pytest.warns(RowsWarning, match="3 of 6 rows"):
        expected, blocks = single.predict(frame), single.embed(frame)
    assert expected.isna().all(axis=1).tolist() == [False, False, True, True, True, False]
    assert blocks.smiles == ("CCCO", "CCN", "C1CC", "", "", "c1ccccc1 benzene")
    for form in (*lists, iter(texts), tmp_path / "six.csv"):
        with pytest.warns(RowsWarning, match=r"3 of 6 rows(.|\n)*row 2 'C1CC': not valid SMILES"):
            out = single.predict(form)
        np.testing.assert_allclose(out, expected, rtol=1e-6)
    for form in lists:
        with pytest.warns(RowsWarning) as told:
            found = single.embed(form)
        assert told[0].filename == __file__
        assert found.smiles == blocks.smiles
        assert_array(found.concatenate(), blocks.concatenate(), rtol=1e-5, atol=1e-7)
    with pytest.raises(
        InputError, match=r"2 of 3 rows(.|\n)*row 1 'C1CC': not valid(.|\n)*row 2 '5'.*no.*text"
    ):
        single.predict(["C", "C1CC", 5], on_error="raise")
    with pytest.raises(InputError, match="No row has a usable molecule"):
        single.embed(["?", ""])
    with pytest.raises(InputError, match="at least one"):
        single.predict([])
    for molecules in (["C"], frame):
        with pytest.raises(InputError, match="on_error"):
            single.predict(molecules, on_error="ignore")


def test_a_list_is_parsed_once_and_not_spelled_canonically(single, monkeypatch):
    calls = []
    parse = Chem.MolFromSmiles
    monkeypatch.setattr(Chem, "MolFromSmiles", lambda *args: calls.append(args[0]) or parse(*args))
    monkeypatch.setattr(Chem, "MolToSmiles", None)
    texts = ["C" * n + "CC(=O)NCC#N" for n in range(1, 41)]
    single.predict(texts)
    calls.clear()
    single.predict(texts)
    assert calls == texts


def test_members_that_do_not_exist_are_refused(single, fused):
    for model in (single, fused):
        assert model.embed(["CCO"], member=1).names == ["mass", "tpsa", "logP"]
        with pytest.raises(InputError, match="member"):
            model.embed(["CCO"], member=2)


def test_order_of_molecules_does_not_matter(fused, table):
    rows = np.random.default_rng(0).permutation(table.n)
    np.testing.assert_allclose(
        fused.predict(table.select(rows)), fused.predict(table).iloc[rows], rtol=1e-4, atol=1e-4
    )


def test_ensemble_mean_and_spread(single, table):
    both = single.predict(table, spread=True)
    members = single._predict_members(pack_graphs(table.smiles))
    np.testing.assert_allclose(both["mass"], members[:, :, 0].mean(axis=0))
    np.testing.assert_allclose(both["mass spread"], np.abs(members[0, :, 0] - members[1, :, 0]) / np.sqrt(2))
    with pytest.raises(InputError, match="n_models=2"):
        MeanPredictor().fit(table, split_molecules(table)).predict(table, spread=True)


def test_frozen_encoders_stay_frozen(single, table, split):
    before = single.embed(table).concatenate()
    FusedMultiTask(single, head="mlp").fit(table, split)
    assert_array(single.embed(table).concatenate(), before)


def test_extension_keeps_old_predictions_to_the_last_digit(single, small_config, table, split):
    two = table.only(["mass", "tpsa"])
    model = FusedMultiTask(SingleTask(small_config)).fit(two, split)
    longer = model.extend("logP", table, split)
    assert_array(longer.predict(table)[["mass", "tpsa"]], model.predict(table))
    counts = longer.parameters()
    assert counts.loc["head: logP", "trainable"] == counts.loc["head: logP", "total"] > 0
    assert counts.filter(like="encoders", axis=0)["trainable"].sum() == 0
    with pytest.raises(InputError, match="already predicts 'tpsa'"):
        model.extend("tpsa", table, split)
    with pytest.raises(InputError, match="logp"):
        model.extend("logp", table, split)


def test_features_are_learned_from_training_rows_only():
    """Other embeddings of the validation and test molecules leave scaler, components and head's training rows as they were."""
    rng = np.random.default_rng(0)
    table = MoleculeTable(["C" * (i + 1) for i in range(40)], rng.normal(size=(40, 1)), (Task("y"),))
    split = Split(range(20), range(20, 30), range(30, 40))
    options = dict(scaling="block", reduce="pca", n_components=3, head="ridge")
    blocks = {"a": rng.normal(size=(40, 6)), "b": rng.normal(size=(40, 4))}
    first = fit_fused_head(EmbeddingBlocks(blocks, table.smiles), table, split, options, 0).features
    blocks["a"][20:] += 100 * rng.normal(size=(20, 6))
    changed = EmbeddingBlocks(blocks, table.smiles)
    second = fit_fused_head(changed, table, split, options, 0).features
    assert_array(second.scaler.scale, first.scaler.scale)
    assert_array(second.reducer.components, first.reducer.components)
    others = Split(range(10, 30), range(10), range(30, 40))
    other = fit_fused_head(changed, table, others, options, 0).features
    assert np.abs(other.scaler.scale - first.scaler.scale).max() > 1  # which rows train does matter


def test_ridge_minimises_its_objective():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 8)), rng.normal(size=(30, 1))
    W, b = ridge_path(X, y, [0.7])

    def objective(w, c):
        return np.sum((y[:, 0] - X @ w - c) ** 2) + 0.7 * np.sum(w**2)

    best = objective(W[0, :, 0], b[0, 0])
    for _ in range(50):
        assert objective(W[0, :, 0] + 1e-2 * rng.normal(size=8), b[0, 0] + 1e-2 * rng.normal()) > best


def test_a_property_without_validation_labels_is_named(table, split):
    """Untrained encoders need no validation rows, but the head's penalties do."""
    Y = table.Y.copy()
    Y[split.valid, 1] = np.nan
    bare = MoleculeTable(table.smiles, Y, table.tasks)
    with pytest.raises(InputError, match="'tpsa' has no validation label"):
        FusedMultiTask(UntrainedEncoders(2)).fit(bare, split)


def test_shuffled_labels_collapse_to_the_mean(small_config, table, split):
    """With labels torn from their molecules nothing can be learned: R2 on test rows must not be positive beyond noise."""
    rng = np.random.default_rng(0)
    Y = np.array([rng.permutation(column) for column in table.Y.T]).T
    shuffled = MoleculeTable(table.smiles, Y, table.tasks)
    result = compare({"F-MT": FusedMultiTask(SingleTask(small_config))}, shuffled, split)
    assert result["R2"].mean() < 0.2


def test_leaks_are_refused(single, table):
    other = split_molecules(table, fractions=(0.6, 0.2, 0.2), seed=7)
    with pytest.raises(InputError, match="has seen .* of the .* test molecules"):
        FusedMultiTask(single).fit(table, other)
    with pytest.raises(InputError, match="model 'ST' has seen"):
        compare({"ST": single}, table, other)


def test_encoders_are_not_weighed_on_molecules_they_trained_on(single, table, split, tmp_path):
    """The same test rows, but validation rows that the encoders trained on; a saved encoder still knows."""
    known = np.concatenate([split.train, split.valid])
    others = Split(known[len(split.valid) :], known[: len(split.valid)], split.test)
    single.save(tmp_path / "ST")
    for encoders in (single, load_model(tmp_path / "ST")):
        with pytest.raises(
            InputError, match=f"of the {len(split.valid)} validation molecules in its own fit"
        ):
            FusedMultiTask(encoders).fit(table, others)


def test_out_of_fold_embeddings_are_those_of_encoders_that_left_the_rows_out(small_config, table, split):
    """Each training row's embedding is what an encoder trained without it gives, up to a linear map; test rows take no part."""
    one = table.only(["tpsa"])
    single = SingleTask(small_config).fit(one, split)
    full = single.embed(one).blocks
    clean = out_of_fold_blocks(single, full, one, split, 3)["tpsa"]
    own = split.train[one.mask[split.train, 0]]
    rest = np.setdiff1d(np.arange(one.n), own)
    assert_array(clean[rest], full["tpsa"][rest])
    assert np.abs(clean[own] - full["tpsa"][own]).max(axis=1).min() > 0
    smiles = list(one.smiles)
    for row, text in zip(split.test, ("CCO", "CN", "C#N", "CS")):
        smiles[row] = text
    moved = MoleculeTable(smiles, one.Y, one.tasks)
    again = out_of_fold_blocks(single, full, moved, split, 3)["tpsa"][own]
    assert_array(again, clean[own], atol=0.01 * np.abs(clean).max())  # the order of sums may change
    y = one.Y[own, 0]
    changed = one.Y.copy()
    changed[own[0], 0] = y.max() + 3 * np.ptp(y)
    other = out_of_fold_blocks(single, full, MoleculeTable(one.smiles, changed, one.tasks), split, 3)["tpsa"]
    same = np.abs(other - clean)[own].max(axis=1) == 0
    assert (
        same[0] and not same.all() and same.sum() <= np.ceil(len(own) / 3)
    )  # only its own fold had left that label out


def test_a_model_with_out_of_fold_embeddings_is_not_extended(single, table, split):
    model = FusedMultiTask(single, out_of_fold=2)
    model.tasks_ = table.tasks[:1]
    with pytest.raises(InputError, match="cannot be extended"):
        model.extend("logP", table, split)


def test_added_columns_never_take_a_property_s_name(small_config, table, split):
    tasks = (Task("a"), Task("a spread"), Task("a low"))
    model = SingleTask(small_config, n_models=2).fit(MoleculeTable(table.smiles, table.Y, tasks), split)
    assert list(model.predict(["CCO"])) == ["a", "a spread", "a low"]
    with pytest.raises(InputError, match="'a spread' is added"):
        model.predict(["CCO"], spread=True)
    with pytest.raises(InputError, match="'a low' is added"):
        fit_intervals(model, MoleculeTable(table.smiles, table.Y, tasks), split)


def test_a_loaded_fused_model_is_cloned_with_its_encoders(single, fused, table, split, tmp_path):
    loaded = load_model(fused.save(tmp_path / "F"))
    assert clone(loaded).encoders[0].config == single.config and clone(loaded).encoders[0].n_models == 2
    default = FusedMultiTask(head="ridge")
    default.tasks_, default.encoders_, default.heads_, default.seen_ = (
        fused.tasks_,
        fused.encoders_,
        fused.heads_,
        fused.seen_,
    )
    assert load_model(default.save(tmp_path / "D")).encoders is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda table, split: SingleTask({"epochs": 2}).fit(table, split), "`config` must be a TrainConfig"),
        (lambda table, split: FusedMultiTask([]).fit(table, split), "`encoders` is empty"),
        (lambda table, split: compare([MeanPredictor()], table, split), "must map names to models"),
        (lambda table, split: compare({"m": 3}, table, split), "must map names to models"),
        (lambda table, split: MeanPredictor().fit(table.select(range(5)), split), "belongs to another table"),
        (lambda table, split: load_model(__file__), "is not a model folder"),
        (lambda table, split: SingleTask(n_jobs=0).fit(table, split), "`n_jobs` must be 1 or more"),
        (lambda table, split: table.only(0), "`tasks` must be names"),
        (lambda table, split: MeanPredictor().fit(table, split).predict([5, "CX"]), "row 0 '5'"),
    ],
)
def test_wrong_arguments_are_named(table, split, wrong, said):
    with pytest.raises((InputError, ModelFileError), match=said):
        wrong(table, split)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(n_components=0, reduce="cur"), "`n_components` must be a whole number from 1"),
        (dict(n_components=1.5, reduce="pca"), "`n_components` must be a number from 1e-12 to 1"),
        (dict(out_of_fold=1), "`out_of_fold` must be a whole number from 2"),
    ],
)
def test_messages_name_the_option_that_was_set(single, table, split, options, said):
    with pytest.raises(InputError, match=said):
        FusedMultiTask(single, **options).fit(table, split)


def test_properties_added_one_after_the_other_start_from_different_weights(
    single, fused, table, split, monkeypatch
):
    seeds = []
    monkeypatch.setattr(SingleTask, "fit", lambda self, table, split: seeds.append(self.seed) or single)
    monkeypatch.setattr(
        FusedMultiTask, "_fit_heads", lambda self, table, split, encoders: [[head] for head in "ab"]
    )
    more = MoleculeTable(table.smiles, table.Y, (Task("x"), Task("y"), Task("z")))
    fused.extend("x", more, split).extend("y", more, split)
    assert len(set(seeds)) == 2


def test_a_model_is_not_saved_over_a_file(single, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        single.save(tmp_path / "file")


def test_a_molecule_written_differently_is_still_a_leak(single, table, split):
    other = [Chem.MolToSmiles(Chem.MolFromSmiles(table.smiles[i]), rootedAtAtom=1) for i in split.train[:3]]
    assert not set(other) & set(table.smiles)
    Y = np.arange(18.0).reshape(6, 3)
    mixed = MoleculeTable(["CCCCC", "C1CC1", "CC(C)C", *other], Y, table.tasks)
    with pytest.raises(InputError, match="has seen 3 of the 3"):
        compare({"ST": single}, mixed, Split(train=[0, 1, 2], valid=[], test=[3, 4, 5]))


def test_compare_counts_and_scores(table, split, single):
    result = compare({"mean": MeanPredictor(), "ST": single}, table, split)
    assert len(result) == 6
    row = result[(result["task"] == "tpsa") & (result["model"] == "mean")].iloc[0]
    y = table.Y[:, 1]
    train, test = y[split.train], y[split.test]
    assert row["n_train"] == np.isfinite(train).sum() and row["n_test"] == np.isfinite(test).sum()
    np.testing.assert_allclose(row["MAE"], np.nanmean(np.abs(test - np.nanmean(train))))
    np.testing.assert_allclose(row["MAE / sd"], row["MAE"] / np.nanstd(train))
    with pytest.raises(InputError, match="no test rows"):
        compare({"mean": MeanPredictor()}, table, split_molecules(table, fractions=(0.8, 0.2, 0)))


@pytest.mark.parametrize("head", ["ridge", "mlp", "kernel"])
@pytest.mark.parametrize("reduce", [None, "pca", "cur"])
def test_saved_models_predict_the_same(single, table, split, tmp_path, head, reduce):
    size = 8 if reduce == "cur" else None
    model = FusedMultiTask(
        [single, UntrainedEncoders(1, single.config, n_models=2)], head=head, reduce=reduce, n_components=size
    )
    model.fit(table, split).save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    np.testing.assert_allclose(again.predict(table), model.predict(table), rtol=1e-5)
    assert again.get_params(deep=False)["reduce"] == reduce
    assert again.encoders_[0].config == single.config
    pd.testing.assert_frame_equal(again.parameters(), model.parameters())


def test_multi_task_and_mean_round_trip(small_config, table, split, tmp_path):
    for number, model in enumerate((MultiTask(small_config), MeanPredictor())):
        model.fit(table, split).save(tmp_path / str(number))
        again = load_model(tmp_path / str(number))
        np.testing.assert_allclose(again.predict(table), model.predict(table), rtol=1e-6)
        assert again.predict(table).columns.tolist() == ["mass", "tpsa", "logP"]


@pytest.mark.parametrize("part", ["tasks", "options"])
def test_a_description_with_missing_parts_is_called_damaged(tmp_path, table, split, part):
    folder = MeanPredictor().fit(table, split).save(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    del config[part]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match="incomplete or damaged"):
        load_model(folder)


def test_scikit_learn_habits(small_config):
    model = FusedMultiTask(SingleTask(small_config), reduce="cur", n_components=9)
    assert clone(model).get_params()["n_components"] == 9
    assert "reduce='cur'" in repr(model)
    with pytest.raises(NotFittedError):
        model.predict(["CCO"])
    with pytest.raises(InputError, match="split_molecules"):
        model.fit([[1]], [1])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("scaling", "robust"),
        ("reduce", "ica"),
        ("head", "forest"),
        ("layer", "middle"),
        ("encoders", ["D-MPNN"]),
    ],
)
def test_unknown_options(single, table, split, option, value):
    with pytest.raises(InputError):
        FusedMultiTask(**({"encoders": single} | {option: value})).fit(table, split)


@pytest.mark.parametrize("value", [1234567.9, 0.1, -3e8])
def test_a_constant_column_is_dead_whatever_its_rounding(value):
    """The standard deviation of a constant is not quite 0: its mean is rounded."""
    Z = np.full((10_000, 3), value)
    Z[:, 1] = value * (1 + 1e-9 * np.random.default_rng(0).normal(size=10_000))
    scaler = fit_block_scaler(Z, np.zeros(3, dtype=int), dead=0)
    assert scaler.columns.tolist() == [1]
    with pytest.raises(InputError, match="no column"):
        fit_block_scaler(Z[:, [0, 2]], np.zeros(2, dtype=int))


def test_only_a_kernel_head_reads_cur_columns_through_what_they_restore(table, split, small_config):
    single = SingleTask(small_config, n_jobs=1).fit(table, split)
    for head in ("kernel", "ridge"):
        model = FusedMultiTask(single, reduce="cur", n_components=9, head=head).fit(table, split)
        features = model.heads_[0][0].features
        assert len(features.scaler.columns) == 9
        assert (features.reducer is not None) == (head == "kernel")


class MeanEncoder(torch.nn.Module):
    """An encoder of one's own: a linear map of atom features, averaged over the molecule."""

    def __init__(self):
        super().__init__()
        self.d_h = 8
        self.linear = torch.nn.Linear(D_V, 8)

    def forward(self, batch):
        V = self.linear(batch.V)
        return torch.zeros(batch.n, 8).index_reduce(0, batch.molecule, V, "mean", include_self=False)


def test_a_fused_model_of_other_encoders_comes_back(small_config, table, split, tmp_path):
    """The untrained blocks beside them are D-MPNNs, and need no function that makes them."""
    own = encoders_to_fuse(SingleTask(small_config, encoder=MeanEncoder), MultiTask(small_config))
    model = FusedMultiTask(own).fit(table.only(["mass", "tpsa"]), split)
    model = model.extend("logP", table, split)
    assert type(model.encoders_[-1].networks_[0][0].network.encoder) is MeanEncoder
    model.save(tmp_path / "m")
    again = load_model(tmp_path / "m", encoder=MeanEncoder)
    pd.testing.assert_frame_equal(again.predict(["CCO", "CCN"]), model.predict(["CCO", "CCN"]))
    assert again.encoders_[0].encoder is MeanEncoder and again.encoders_[1].encoder is None


class SumEncoder(MeanEncoder):
    """Another one, which adds atoms up."""

    def forward(self, batch):
        return torch.zeros(batch.n, 8).index_add(0, batch.molecule, self.linear(batch.V))


def test_each_encoder_model_may_have_an_encoder_of_its_own(small_config, table, split, tmp_path):
    three = [
        SingleTask(small_config, encoder=MeanEncoder),
        MultiTask(small_config),
        SingleTask(small_config, encoder=SumEncoder),
    ]
    model = FusedMultiTask(three).fit(table, split)
    model.save(tmp_path / "m")
    again = load_model(tmp_path / "m", encoder=[MeanEncoder, None, SumEncoder])
    pd.testing.assert_frame_equal(again.predict(["CCO", "CCN"]), model.predict(["CCO", "CCN"]))
    with pytest.raises(InputError, match="2 entries, the model 3 encoder models"):
        load_model(tmp_path / "m", encoder=[MeanEncoder, SumEncoder])
    model.encoders_[0].save(tmp_path / "single")
    with pytest.raises(InputError, match="give the function alone"):
        load_model(tmp_path / "single", encoder=[MeanEncoder])


@pytest.mark.parametrize("head", ["kernel", "ridge"])
def test_which_test_cells_are_filled_changes_nothing(head, small_config, table, split):
    full = replace(table, Y=np.random.default_rng(0).normal(size=table.Y.shape))
    holes = full.Y.copy()
    holes[split.test[0], 0] = np.nan
    blind = replace(full, Y=holes)
    untrained = UntrainedEncoders(config=small_config)
    one, other = (FusedMultiTask(untrained, head=head).fit(each, split) for each in (full, blind))
    pd.testing.assert_frame_equal(one.predict(["CCO", "CCN"]), other.predict(["CCO", "CCN"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(head="kernal"), "Did you mean 'kernel'"),
        (dict(reduce="PCA"), "Did you mean 'pca'"),
        (dict(layer="heads"), "Did you mean 'head'"),
        (dict(scaling="blocks"), "Did you mean 'block'"),
        (dict(n_components=0), "n_components"),
        (dict(n_heads=0), "n_heads"),
        (dict(seed=-1), "seed"),
        (dict(out_of_fold=1), "out_of_fold"),
        (dict(out_of_fold=2, encoders=UntrainedEncoders()), "needs a SingleTask"),
        (dict(head_config={"epochs": 5}), "TrainConfig"),
        (dict(encoders=TrainConfig()), "got TrainConfig"),
        (dict(encoders=[SingleTask(n_models=2), MultiTask(n_models=3)]), "2 and 3 ensemble members"),
    ],
)
def test_wrong_options_are_seen_before_anything_is_trained(options, message, table, split, monkeypatch):
    def never(*args):
        raise AssertionError("a network was trained")

    monkeypatch.setattr(fusion, "fit_many", never)
    with pytest.raises(InputError, match=message):
        FusedMultiTask(**options).fit(table, split)


def test_a_task_without_validation_labels_is_seen_before_anything_is_trained(table, split, monkeypatch):
    monkeypatch.setattr(fusion, "fit_many", lambda *args: pytest.fail("a network was trained"))
    Y = table.Y.copy()
    Y[split.valid, 2] = np.nan
    for model in (SingleTask(), MultiTask(), FusedMultiTask()):
        with pytest.raises(InputError, match="'logP' has no validation label"):
            model.fit(replace(table, Y=Y), split)


def test_numbers_of_numpy_are_saved_as_numbers(table, split, tmp_path):
    config = TrainConfig(
        d_h=np.int64(16), dropout=np.float32(0.5), min_steps=10, epochs=1, device=torch.device("cpu")
    )
    SingleTask(config, n_models=np.int64(2), seed=np.int64(7)).fit(table, split).save(tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert (again.n_models, again.seed, again.config) == (2, 7, config)


def test_models_in_another_unit_are_not_compared(table, split):
    model = MeanPredictor().fit(table, split)
    tasks = (Task("mass", "kg/mol"), *table.tasks[1:])
    with pytest.raises(InputError, match="predicts 'mass' in g/mol; the table has it in kg/mol"):
        compare({"mean": model}, replace(table, tasks=tasks), split)
    tasks = (Task("mass"), *table.tasks[1:])  # no unit given: nothing to compare
    assert len(compare({"mean": model}, replace(table, tasks=tasks), split)) == 3


def test_small_mistakes_are_named(fused, small_config, table, split):
    with pytest.raises(InputError, match="n_models"):
        UntrainedEncoders(n_models=0).fit(table, split)
    ridge = FusedMultiTask(UntrainedEncoders(config=small_config)).fit(table, split)
    with pytest.raises(InputError, match="member"):
        ridge.mixture(member=3)
