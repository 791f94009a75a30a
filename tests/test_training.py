"""The training loop: oracles, laws and what must not happen."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from torch_geometric.nn import AttentiveFP

from fusionbook import training
from fusionbook.core import InputError, ModelFileError, TrainingWarning, assert_array
from fusionbook.dmpnn import DMPNN, PyGEncoder
from fusionbook.fusion import SingleTask, UntrainedEncoders, load_model
from fusionbook.graphs import pack_graphs
from fusionbook.training import (
    MatrixInputs,
    TrainConfig,
    build_network,
    choose_device,
    cut_rows,
    embed_many,
    faster_precision,
    fit_many,
    fit_module,
    fit_network,
    label_weights,
    learning_rate,
    masked_loss,
    predict_rows,
    read_model,
    write_model,
)


def test_masked_loss_weights_tasks_not_labels():
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(50, 3))
    Y[rng.uniform(size=Y.shape) < [0.1, 0.5, 0.9]] = np.nan
    Y_hat = rng.normal(size=Y.shape)
    expected = np.nanmean((Y - Y_hat) ** 2, axis=0).mean()
    weight = torch.tensor(label_weights(Y))
    got = masked_loss(torch.tensor(Y_hat), torch.tensor(Y), weight)
    np.testing.assert_allclose(float(got), expected, rtol=1e-12)
    parts = [
        masked_loss(torch.tensor(Y_hat[i : i + 10]), torch.tensor(Y[i : i + 10]), weight, 5)
        for i in range(0, 50, 10)
    ]
    np.testing.assert_allclose(float(sum(parts)) / 5, expected, rtol=1e-12)


def test_gradient_of_unmeasured_cells_is_zero_and_finite():
    Y = torch.tensor([[1.0, float("nan")], [float("nan"), 2.0]])
    Y_hat = torch.zeros(2, 2, requires_grad=True)
    masked_loss(Y_hat, Y, torch.ones(2)).backward()
    assert Y_hat.grad.tolist() == [[-2.0, 0.0], [0.0, -4.0]]


def test_learning_rate_is_monotone_after_warm_up():
    config = TrainConfig()
    rates = [learning_rate(step, 500, config) for step in range(500)]
    peak = int(np.argmax(rates))
    assert peak == 20
    assert (np.diff(rates[:21]) > 0).all() and (np.diff(rates[20:]) < 0).all()
    ratios = np.array(rates[21:]) / np.array(rates[20:-1])
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-12)


def test_best_state_is_kept_per_task():
    """Task 0 is learnable; task 1's validation labels contradict its training labels, so its best state is an early one."""
    x = np.linspace(-1, 1, 60)[:, None]
    Y = torch.tensor(np.hstack([x, x]), dtype=torch.float32)
    Y[40:, 1] *= -1
    config = TrainConfig(
        min_steps=200, epochs=1, batch_size=20, rate_start=0.05, rate_peak=0.05, rate_end=0.05, patience=50
    )
    torch.manual_seed(0)
    module = torch.nn.Linear(1, 2)
    states, number, history = fit_module(
        module, MatrixInputs(x), Y, np.arange(40), np.arange(40, 60), config, seed=0
    )
    assert history.best_step[1] < history.best_step[0]
    assert number[0] != number[1]
    for j in (0, 1):
        state = states[number[j]]
        y_hat = float(state["weight"][j, 0]) * x[40:, 0] + float(state["bias"][j])
        loss = np.mean((y_hat - Y[40:, j].numpy()) ** 2)
        np.testing.assert_allclose(loss, history.valid_loss[:, j].min(), rtol=1e-4, atol=1e-10)


def test_patience_stops_and_warning_tells_of_unfinished_training(small_config):
    store = pack_graphs(["C" * k + "O" for k in range(1, 31)])
    Y = np.arange(1.0, 31.0)[:, None]
    job = dict(store=store, Y=Y, tasks=["carbons"], train=np.arange(0, 20), valid=np.arange(20, 30), seed=0)
    short = replace(small_config, min_steps=30, rate_peak=1e-4, evaluations=10)
    with pytest.warns(TrainingWarning, match="still improving.*carbons"):
        fit_many([dict(job, config=short)], progress=False)
    noise = dict(job, Y=np.random.default_rng(0).normal(size=(30, 1)))
    early = replace(small_config, min_steps=5000, evaluations=100, patience=3)
    trained = fit_network(**noise, config=early)
    assert trained.history.step[-1] < 2500


def test_parallel_trainings_equal_sequential_ones(small_config, table, split):
    store = pack_graphs(table.smiles)
    jobs = [
        dict(
            store=store,
            Y=table.Y[:, [j]],
            tasks=[name],
            train=split.train,
            valid=split.valid,
            config=small_config,
            seed=j,
        )
        for j, name in enumerate(table.task_names)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        one = fit_many(jobs, n_jobs=1, progress=False)
        two = fit_many(jobs, n_jobs=2, progress=False)
    for a, b in zip(one, two):
        np.testing.assert_allclose(a.predict(store), b.predict(store), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_the_size_of_a_batch_changes_no_prediction(batch_size):
    store = pack_graphs(["C" * (k % 13 + 1) + "ONS"[k % 3] for k in range(150)])
    encoder = DMPNN(d_h=12)
    expected = predict_rows(encoder, store)
    np.testing.assert_allclose(
        predict_rows(encoder, store, batch_size=batch_size), expected, rtol=1e-5, atol=1e-6
    )
    rows = np.array([149, 0, 70, 0])
    np.testing.assert_allclose(
        predict_rows(encoder, store, rows, batch_size=3), expected[rows], rtol=1e-5, atol=1e-6
    )


def test_global_random_state_is_left_alone(small_config):
    store = pack_graphs(["C" * k + "O" for k in range(1, 21)])
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    fit_network(
        store, np.arange(20.0)[:, None], ["y"], np.arange(12), np.arange(12, 20), small_config, seed=0
    )
    assert torch.rand(1) == wanted


def test_divergence_is_an_error(small_config):
    huge = MatrixInputs(np.full((20, 1), 1e30))
    with pytest.raises(InputError, match="diverged.*rate_peak"):
        fit_module(
            torch.nn.Linear(1, 1),
            huge,
            torch.ones(20, 1),
            np.arange(12),
            np.arange(12, 20),
            small_config,
            seed=0,
        )


def test_labels_too_large_to_square_are_refused(small_config):
    store = pack_graphs(["C" * k + "O" for k in range(1, 21)])
    Y = np.arange(20.0)[:, None]
    Y[0] = 1e300
    with pytest.raises(InputError, match="'y'.*overflows"), np.errstate(over="ignore"):
        fit_network(store, Y, ["y"], np.arange(12), np.arange(12, 20), small_config, seed=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("d_h", 0),
        ("depth", 1.5),
        ("dropout", 1.0),
        ("rate_peak", -1),
        ("epochs", "many"),
        ("readout", "max"),
        ("patience", 0),
        ("precision", "float16"),
        ("device", "gpu please"),
    ],
)
def test_config_refuses(field, value):
    with pytest.raises(InputError, match=field):
        TrainConfig(**{field: value})


def test_single_atoms_and_very_large_molecules(small_config):
    smiles = ["C", "O", "[Na+]", "C" * 500, "CCO", "N", "C" * 40, "F", "CO", "CCN", "S", "CCC"]
    store = pack_graphs(smiles)
    assert store.n_atoms.tolist() == [1, 1, 1, 500, 3, 1, 40, 1, 2, 3, 1, 3]
    encoder = DMPNN(d_h=8)
    together = encoder(store.batch(range(len(smiles))))
    alone = torch.cat([encoder(store.batch([i])) for i in range(len(smiles))])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    assert torch.isfinite(together).all()


def test_pyg_model_trains_saves_and_needs_its_code_to_load(small_config, table, split, tmp_path):
    def encoder():
        return PyGEncoder(AttentiveFP(72, 8, 12, edge_dim=14, num_layers=1, num_timesteps=1))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        model = SingleTask(small_config, encoder=encoder).fit(table.only(["mass"]), split)
    assert model.embed(table)["mass"].shape == (table.n, 12)
    model.save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="encoder="):
        load_model(tmp_path / "model")
    again = load_model(tmp_path / "model", encoder=encoder)
    np.testing.assert_allclose(again.predict(table), model.predict(table), rtol=1e-6)


def test_model_files_that_cannot_be_read(tmp_path):
    folder = write_model(tmp_path / "m", "MeanPredictor", {"options": {}}, {"x": torch.ones(2)})
    config = json.loads((folder / "config.json").read_text())
    with pytest.raises(ModelFileError, match="not a model folder"):
        read_model(tmp_path / "nowhere")
    (folder / "config.json").write_text(json.dumps(config | {"format_version": 99}))
    with pytest.raises(ModelFileError, match="format 99.*Upgrade"):
        read_model(folder)
    for name in ("format_version", "sha256", "kind"):
        for value in (None, [1]):
            (folder / "config.json").write_text(json.dumps(config | {name: value}))
            with pytest.raises(ModelFileError, match=f"{name}.*missing or wrong"):
                read_model(folder)
    (folder / "config.json").write_text("{ broken")
    with pytest.raises(ModelFileError, match="damaged"):
        read_model(folder)
    (folder / "config.json").write_text("[1, 2]")
    with pytest.raises(ModelFileError, match="does not describe"):
        read_model(folder)
    (folder / "config.json").write_text(json.dumps(config))
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(weights[:-1] + b"x")
    with pytest.raises(ModelFileError, match="checksum"):
        read_model(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelFileError, match="incomplete"):
        read_model(folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        write_model(other, "MeanPredictor", {}, {})


def test_watched_training_gives_the_same_network(small_config, table, split):
    store = pack_graphs(table.smiles)
    job = dict(store=store, Y=table.Y, tasks=table.task_names, train=split.train, valid=split.valid, seed=4)
    told = []
    watched = fit_network(**job, config=small_config, report=told.append)
    alone = fit_network(**job, config=small_config)
    np.testing.assert_array_equal(watched.predict(store), alone.predict(store))
    assert [one.step for one in told] == list(range(1, int(alone.history.step[-1]) + 1))
    rounds = [one for one in told if one.valid_loss is not None]
    np.testing.assert_array_equal([one.step for one in rounds], alone.history.step)
    np.testing.assert_array_equal([one.valid_loss for one in rounds], alone.history.valid_loss)
    np.testing.assert_array_equal([one.train_loss for one in rounds], alone.history.train_loss)
    assert {one.tasks for one in told} == {tuple(table.task_names)} and told[0].molecules > 0


def test_a_stopped_fit_leaves_the_model_as_it_was(small_config, table, split):
    def stop(told):
        raise KeyboardInterrupt

    model = SingleTask(small_config, n_jobs=2, progress=False)
    with pytest.raises(KeyboardInterrupt):
        model.fit(table, split, report=stop)
    assert not [name for name in vars(model) if name.endswith("_")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        before = model.fit(table, split).predict(table)
    with pytest.raises(KeyboardInterrupt):
        model.fit(table.only(table.task_names[:1]), split, report=stop)
    np.testing.assert_array_equal(model.predict(table), before)


def chains(n=60):
    """Chains with several ends, and how many heavy atoms they have."""
    store = pack_graphs(["C" * (k % 12 + 1) + ("O", "N", "C#N", "C1CC1")[k % 4] for k in range(n)])
    return store, store.n_atoms.astype(float)[:, None]


def test_bfloat16_trains_to_nearly_the_same_loss_and_predicts_in_float32(small_config):
    store, Y = chains()
    job = dict(store=store, Y=Y, tasks=["atoms"], train=np.arange(40), valid=np.arange(40, 60), seed=0)
    long = replace(small_config, min_steps=400)
    one = fit_network(**job, config=replace(long, precision="float32"))
    other = fit_network(**job, config=replace(long, precision="bfloat16"))
    assert not np.array_equal(one.history.train_loss, other.history.train_loss)
    np.testing.assert_allclose(other.history.train_loss[0], one.history.train_loss[0], rtol=0.05)
    assert abs(other.predict(store) - Y)[40:].mean() < 1.5 * abs(one.predict(store) - Y)[40:].mean() + 0.1
    assert {value.dtype for state in other.states for value in state.values()} == {torch.float32}
    assert other.embed(store).dtype == np.float32
    rounded = other.embed(store).astype(np.float32)
    assert not np.array_equal(rounded, torch.as_tensor(rounded).bfloat16().float().numpy())


class Timed:
    """A stepper that pretends to need so many seconds."""

    device = torch.device("cpu")
    module = torch.nn.Linear(2, 3)

    def __init__(self, seconds, clock):
        self.seconds, self.clock = seconds, clock

    def gradients(self, rows, precision):
        torch.rand(3)
        self.clock[0] += self.seconds[precision]
        return torch.zeros(())


@pytest.mark.parametrize(
    ("bfloat16", "has", "expected"),
    [(0.8, True, "bfloat16"), (0.95, True, "float32"), (0.1, False, "float32")],
)
def test_auto_precision_needs_the_instructions_and_ten_percent(monkeypatch, bfloat16, has, expected):
    clock = [0.0]
    monkeypatch.setattr(training, "has_bfloat16", lambda device: has)
    monkeypatch.setattr(training, "_FASTER", {})
    monkeypatch.setattr(training.time, "perf_counter", lambda: clock[0])
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    stepper = Timed({"float32": 1.0, "bfloat16": bfloat16}, clock)
    assert faster_precision(stepper, torch.arange(4)) == expected
    assert torch.rand(1) == wanted
    before = clock[0]
    assert faster_precision(stepper, torch.arange(4)) == expected
    assert clock[0] == before


def test_no_clock_decides_unless_asked(monkeypatch, small_config):
    store, Y = chains()
    job = dict(store=store, Y=Y, tasks=["atoms"], train=np.arange(40), valid=np.arange(40, 60), seed=0)
    monkeypatch.setattr(training, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(training, "_FASTER", {})
    monkeypatch.setattr(training, "_seconds", lambda stepper, rows, name: float(name == "float32"))
    usual = fit_network(**job, config=small_config)
    asked = fit_network(**job, config=replace(small_config, precision="float32"))
    faster = fit_network(**job, config=replace(small_config, precision="auto"))
    np.testing.assert_array_equal(usual.history.train_loss, asked.history.train_loss)
    assert not np.array_equal(faster.history.train_loss, asked.history.train_loss)


def test_calibration_changes_no_number(monkeypatch, small_config):
    store, Y = chains()
    job = dict(store=store, Y=Y, tasks=["atoms"], train=np.arange(40), valid=np.arange(40, 60), seed=0)
    config = replace(small_config, dropout=0.2, min_steps=60)
    plain = fit_network(**job, config=replace(config, precision="float32"))
    calls = []
    monkeypatch.setattr(training, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(training, "_FASTER", {})
    monkeypatch.setattr(
        training,
        "_seconds",
        lambda stepper, rows, name: calls.append(name) or float(stepper.gradients(rows, name)) * 0 + 1,
    )
    auto = fit_network(**job, config=replace(config, precision="auto"))
    assert set(calls) == {"float32", "bfloat16"}
    np.testing.assert_array_equal(auto.history.train_loss, plain.history.train_loss)
    np.testing.assert_array_equal(auto.predict(store), plain.predict(store))


def test_devices(monkeypatch):
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda") == torch.device("cuda")
    with pytest.raises(InputError, match="no device 'cuda:1'"):
        choose_device("cuda:1")
    assert choose_device("cuda:1", missing="cpu") == torch.device("cpu")


@pytest.mark.parametrize("readout", ["mean", "sum", "norm"])
def test_a_step_needs_no_number_from_the_device(readout):
    """torch's meta device knows shapes but no numbers: whatever a step asked it for would be an error."""
    store, Y = chains()
    config = TrainConfig(d_h=24, readout=readout, device="meta", precision="float32")
    stepper = training._Stepper(
        build_network(1, config, store, 0), store, torch.as_tensor(Y).float(), np.arange(40), config
    )
    assert stepper.inputs.V_types.is_meta and stepper.inputs.atom_offsets.is_cpu
    batch = stepper.inputs.batch(torch.arange(7))
    assert batch.edge_index.is_meta and stepper.module.encoder(batch).shape == (7, 24)
    assert stepper.step(torch.arange(7), 1e-3).is_meta


def test_configurations_saved_before_there_were_devices_still_load(small_config, table, split, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        model = SingleTask(replace(small_config, device="cpu"), progress=False).fit(table, split)
    folder = model.save(tmp_path / "model")
    text = (folder / "config.json").read_text()
    config = json.loads(text)
    for part in [one["config"] for one in config["networks"]] + [config["options"]["config"]["TrainConfig"]]:
        del part["device"], part["precision"]
    (folder / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(load_model(folder).predict(table), model.predict(table))
    (folder / "config.json").write_text(text.replace('"device": "cpu"', '"device": "cuda:7"'))
    np.testing.assert_array_equal(load_model(folder).predict(table), model.predict(table))


def test_batches_hold_about_as_many_atoms_whatever_the_molecules(monkeypatch):
    store, _ = chains()
    monkeypatch.setattr(training, "ATOMS_AT_A_TIME", 50)
    rows = np.random.default_rng(0).permutation(60)
    parts = cut_rows(store, rows)
    np.testing.assert_array_equal(np.concatenate(parts), rows)
    assert max(store.n_atoms[part].sum() for part in parts) < 50 + store.n_atoms.max()
    encoder = DMPNN(d_h=12)
    np.testing.assert_allclose(
        predict_rows(encoder, store, rows),
        predict_rows(encoder, store, rows, batch_size=60),
        rtol=1e-5,
        atol=1e-6,
    )


def test_many_encoders_in_one_pass_equal_each_alone(small_config):
    store, Y = chains()
    job = dict(store=store, Y=Y, tasks=["atoms"], train=np.arange(40), valid=np.arange(40, 60))
    configs = [replace(small_config, d_h=width) for width in (8, 16, 16)]
    networks = [fit_network(**job, config=config, seed=seed) for seed, config in enumerate(configs)]
    for layer in ("readout", "head"):
        for one, Z in zip(networks, embed_many(networks, store, layer)):
            np.testing.assert_allclose(Z, one.embed(store, layer), rtol=1e-6, atol=1e-7)


def different_jobs(config):
    """Three properties with different labels, numbers of labels, and therefore lengths."""
    store, Y = chains()
    Y = np.hstack([Y, np.random.default_rng(0).normal(size=Y.shape), Y**2])
    Y[3:20, 1] = np.nan
    job = dict(store=store, tasks=["y"], valid=np.arange(40, 60), config=config)
    return [dict(job, Y=Y[:, [j]], train=np.arange(40 - 5 * j), seed=j) for j in range(3)]


@pytest.mark.parametrize("readout", ["mean", "sum", "norm"])
def test_one_program_for_all_networks_gives_the_losses_of_one_after_the_other(small_config, readout):
    config = replace(
        small_config,
        readout=readout,
        batch_size=7,
        epochs=20,
        min_steps=30,
        evaluations=10,
        patience=3,
        weight_decay=0.1,
    )
    jobs = different_jobs(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        alone = fit_many(jobs, n_jobs=1, progress=False)
        together = fit_many(jobs, progress=False, stacked=True)
    assert len({one.history.step[-1] for one in alone}) > 1
    for one, other in zip(alone, together):
        np.testing.assert_array_equal(other.history.step, one.history.step)
        np.testing.assert_array_equal(other.history.best_step, one.history.best_step)
        np.testing.assert_allclose(other.history.train_loss, one.history.train_loss, rtol=1e-4)
        np.testing.assert_allclose(other.history.valid_loss, one.history.valid_loss, rtol=1e-4)
        store = jobs[0]["store"]
        np.testing.assert_allclose(other.predict(store), one.predict(store), rtol=1e-3, atol=1e-4)
        assert all(weights._base is None for weights in other.network.parameters())


def test_one_program_in_bfloat16(small_config):
    jobs = different_jobs(replace(small_config, min_steps=60))
    losses = {}
    for precision in ("float32", "bfloat16"):
        own = [dict(job, config=replace(job["config"], precision=precision)) for job in jobs]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrainingWarning)
            losses[precision] = fit_many(own, progress=False, stacked=True)[0].history.train_loss
    assert not np.array_equal(losses["float32"], losses["bfloat16"])
    np.testing.assert_allclose(losses["bfloat16"][0], losses["float32"][0], rtol=0.05)


@pytest.mark.parametrize("readout", ["mean", "sum", "norm"])
def test_a_step_of_one_program_needs_no_number_from_the_device(readout):
    store, Y = chains()
    config = TrainConfig(d_h=24, readout=readout, device="meta", precision="float32")
    networks = [build_network(1, config, store, seed) for seed in range(3)]
    targets, trains = [torch.as_tensor(Y).float()] * 3, [np.arange(40 - k) for k in range(3)]
    stack = training._StackStepper(networks, store, targets, trains, config)
    rows = [torch.arange(7), torch.arange(3), torch.arange(5, 10)]
    assert stack.step(rows, [1e-3, 1e-4, 1e-5]).is_meta
    stack.keep([0, 2])
    losses = stack.step(rows[::2], [1e-3, 1e-5])
    assert losses.is_meta and losses.shape == (2,)


def test_a_recorded_step_gets_more_room_when_a_batch_does_not_fit():
    store, Y = chains()
    config = TrainConfig(d_h=24, precision="float32", device="cpu")
    networks = [build_network(1, config, store, seed) for seed in range(2)]
    trains = [np.arange(40)] * 2
    stack = training._StackStepper(networks, store, [torch.as_tensor(Y).float()] * 2, trains, config)
    small, large = (
        sorted(range(40), key=lambda i: store.n_atoms[i])[:5],
        sorted(range(40), key=lambda i: -store.n_atoms[i])[:5],
    )
    rooms = []
    for rows in (small, large, small):
        stack.step([torch.tensor(rows)] * 2, [0.0, 0.0])
        rooms.append((stack.room, stack.recorded))
    (_, first), (more, second), (same, third) = rooms
    assert first is not second and second is third and more == same
    assert (
        rooms[0][0][0] == more[0]
        and rooms[0][0][1] < more[1]
        and rooms[0][0][2] < more[2]
        and more[2] % 2 == 0
    )
    store_rows = store.batch(large)
    with torch.no_grad():
        error = networks[1](store_rows)[:, 0] - torch.as_tensor(Y[large, 0]).float()
    losses = stack.step([torch.tensor(large)] * 2, [0.0, 0.0])
    np.testing.assert_allclose(losses[1], error.square().mean(), rtol=1e-5)


def test_one_program_is_chosen_on_a_gpu_and_only_where_it_is_possible(monkeypatch, small_config):
    jobs = different_jobs(small_config)
    choose = training._choose_stack
    assert not choose(None, jobs, None, None)
    monkeypatch.setattr(training, "choose_device", lambda name, missing="error": torch.device("cuda"))
    assert choose(None, jobs, None, None)
    assert not choose(False, jobs, None, None)
    assert not choose(None, jobs, 1, None) and not choose(None, jobs, None, print)
    assert choose(None, jobs[:1], None, None)
    other = {
        "config": replace(small_config, depth=2),
        "store": chains(59)[0],
        "encoder": torch.nn.Identity,
        "tasks": ["a", "b"],
    }
    dropout = [dict(job, config=replace(small_config, dropout=0.1)) for job in jobs]
    for changed in [dropout, *([*jobs[:2], jobs[2] | {name: value}] for name, value in other.items())]:
        assert not choose(None, changed, None, None)
        with pytest.raises(InputError, match="stacked=True"):
            choose(True, changed, None, None)


INTERRUPTED = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits SIGINT ignored
import numpy as np
from fusionbook.graphs import pack_graphs
from fusionbook.training import TrainConfig, fit_many
store = pack_graphs(["C" * k + "O" for k in range(1, 31)])
config = TrainConfig(d_h=16, min_steps=10**6, max_steps=10**6)
job = dict(store=store, Y=np.arange(30.0)[:, None], tasks=["y"], train=np.arange(20), valid=np.arange(20, 30), config=config)
print("go", flush=True)
fit_many([dict(job, seed=k) for k in range(4)], n_jobs=2, progress=False)
"""


def test_an_interrupt_leaves_no_process_behind():
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline().strip() == b"go"
    program = psutil.Process(process.pid)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        children = program.children(recursive=True)
        if sum(child.cpu_times().user > 2 for child in children) == 2:
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    process.wait(60)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert len(children) >= 2 and alive == []


def test_a_hopeless_task_does_not_choose_the_state_for_all():
    """By plain means the second state (5.5) would beat the first (10.1); it has learned nothing of the first task."""
    module = torch.nn.Linear(1, 2)
    keeper = training._Keeper(2)
    keeper.update(10, 1, np.array([0.2, 20.0]), module)
    keeper.update(20, 2, np.array([1.0, 10.0]), module)
    assert keeper.step.tolist() == [10, 20, 10]


def test_one_task_embeds_with_its_own_best_state():
    """With one task, the state for all is the best state of that task, however large its errors."""
    module = torch.nn.Linear(1, 1)
    keeper = training._Keeper(1)
    for round_number, loss in enumerate([30.0, 12.0, 17.0], start=1):
        keeper.update(10 * round_number, round_number, np.array([loss]), module)
    assert keeper.step.tolist() == [20, 20]


class AtomRows(torch.nn.Module):
    def forward(self, x, edge_index, edge_attr, batch):
        return x


class MoleculeRows(torch.nn.Module):
    def forward(self, x, edge_index, edge_attr, batch):
        return torch.zeros(int(batch.max()) + 1, x.shape[1]).index_add(0, batch, x)


@pytest.mark.parametrize("rows", [AtomRows, MoleculeRows])
def test_a_wrapped_model_gives_a_lone_atom_the_same_in_any_batch(rows):
    """Where every molecule has one atom, rows an atom and rows a molecule are equally many."""
    encoder = PyGEncoder(rows(), "norm")
    store = pack_graphs(("C", "O", "CC"))
    alone, beside = (encoder(store.batch(list(some)))[0].detach().numpy() for some in ((0, 1), (0, 2)))
    assert_array(alone, beside)
    assert encoder.training


def test_a_code_for_missing_values_among_the_validation_labels_is_named(small_config, table, split):
    Y = table.Y.copy()
    Y[split.valid[~np.isnan(Y[split.valid, 0])][0], 0] = 9.96921e36
    with pytest.raises(InputError, match=r"task 'mass': a validation label is 9.969e\+36.*empty that cell"):
        SingleTask(small_config).fit(replace(table, Y=Y), split)


def test_untrained_networks_ended_when_they_should(table, split, tmp_path):
    model = UntrainedEncoders(2, TrainConfig(d_h=8)).fit(table, split)
    model.save(tmp_path / "m")
    for one in (model, load_model(tmp_path / "m")):
        assert [network.history.unfinished().tolist() for network in one.networks_[0]] == [[False], [False]]
