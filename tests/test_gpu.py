"""Training and embedding on a GPU give what the processor gives; skipped where there is no GPU."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from fusionbook import FusedMultiTask, SingleTask, TrainConfig, load_model, split_molecules
from fusionbook.core import TrainingWarning
from fusionbook.datasets import load_xtb
from fusionbook.fusion import MultiTask
from fusionbook.graphs import pack_graphs
from fusionbook.training import _Shuffled, _StackStepper, _Stepper, build_network, fit_many

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

CONFIG = TrainConfig(
    batch_size=32, epochs=10, min_steps=60, evaluations=10, precision="float32", device="cuda"
)
DEVICES = ("cpu", "cuda")


@pytest.fixture(scope="module")
def table():
    return load_xtb().select(np.arange(300))


@pytest.fixture(scope="module")
def split(table):
    return split_molecules(table, seed=0)


@pytest.fixture(scope="module")
def store(table):
    return pack_graphs(table.smiles)


@pytest.fixture(autouse=True)
def short_trainings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        yield


def jobs(table, split, store, config):
    """Trainings of three properties."""
    shared = dict(store=store, train=split.train, valid=split.valid, config=config)
    names = table.task_names[:3]
    return [dict(shared, Y=table.Y[:, [j]], tasks=[name], seed=j) for j, name in enumerate(names)]


def assert_same_training(one, other, store):
    np.testing.assert_array_equal(other.history.step, one.history.step)
    np.testing.assert_allclose(other.history.train_loss, one.history.train_loss, rtol=0.02)
    np.testing.assert_allclose(other.history.valid_loss, one.history.valid_loss, rtol=0.02)
    scale = one.std
    np.testing.assert_allclose(other.predict(store) / scale, one.predict(store) / scale, rtol=0, atol=0.05)


def test_a_gpu_trains_as_the_processor_does(table, split, store):
    found = {}
    for device in DEVICES:
        config = replace(CONFIG, device=device)
        found[device] = fit_many(jobs(table, split, store, config), n_jobs=1, progress=False)
    for one, other in zip(found["cpu"], found["cuda"]):
        assert_same_training(one, other, store)
        assert all(weights.is_cpu for weights in other.network.parameters())


def test_one_program_on_a_gpu_trains_as_one_after_the_other(table, split, store):
    alone = fit_many(jobs(table, split, store, CONFIG), stacked=False, n_jobs=1, progress=False)
    together = fit_many(jobs(table, split, store, CONFIG), progress=False)
    for one, other in zip(alone, together):
        assert_same_training(one, other, store)


def test_the_same_weights_predict_and_embed_alike(table, split, store):
    trained = fit_many(jobs(table, split, store, CONFIG), progress=False)[0]
    there = trained.predict(store), trained.embed(store)
    here = replace(trained, config=replace(CONFIG, device="cpu"))
    np.testing.assert_allclose(there[0], here.predict(store), rtol=1e-4, atol=1e-4 * trained.std[0])
    np.testing.assert_allclose(there[1], here.embed(store), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("T", "stacked"), [(1, False), (1, True), (3, True)])
def test_a_step_does_not_wait_for_the_gpu(table, split, store, T, stacked):
    Y = torch.tensor(table.Y[:, :1], dtype=torch.float32)
    networks = [build_network(1, CONFIG, store, seed) for seed in range(T)]
    batches = [_Shuffled(split.train, 32, seed) for seed in range(T)]
    if not stacked:
        stepper = _Stepper(networks[0], store, Y, split.train, CONFIG)
    else:
        stepper = _StackStepper(networks, store, [Y] * T, [split.train] * T, CONFIG)

    def step():
        rows = [one.next() for one in batches]
        return stepper.step(rows, [1e-3] * T) if stacked else stepper.step(rows[0], 1e-3)

    for _ in range(10):  # a batch that needs more room than those before would be recorded anew
        step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(loss).all()


def test_bfloat16_on_a_gpu_changes_little(table, split, store):
    found = {}
    for precision in ("float32", "bfloat16", "auto"):
        found[precision] = fit_many(
            jobs(table, split, store, replace(CONFIG, precision=precision)), progress=False
        )
    for one, other, chosen in zip(*found.values()):
        np.testing.assert_allclose(other.history.valid_loss, one.history.valid_loss, rtol=0.1)
        np.testing.assert_allclose(chosen.history.valid_loss, one.history.valid_loss, rtol=0.1)


def test_a_fused_model_made_on_a_gpu_loads_anywhere(table, split, tmp_path):
    few = table.only(table.task_names[:3])
    encoders = [SingleTask(CONFIG, progress=False), MultiTask(CONFIG, progress=False)]
    model = FusedMultiTask(encoders).fit(few, split)
    model.save(tmp_path / "model")
    tested = few.select(split.test)
    expected = model.predict(tested).to_numpy()
    np.testing.assert_allclose(load_model(tmp_path / "model").predict(tested).to_numpy(), expected, rtol=1e-4)
