"""Trainings and libraries on a local Dask cluster of two worker processes: the same numbers, and nothing lost with a worker."""

import os
import signal
import threading
import time
import warnings
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest

from fusionbook.core import TrainingWarning, on_cluster
from fusionbook.embeddings import stream_molecules
from fusionbook.fusion import SingleTask

distributed = pytest.importorskip("distributed", reason="Dask is not installed (extra `cluster`)")


@pytest.fixture(scope="module")
def client():
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


def fitted(config, table, split, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        return SingleTask(config, seed=3, progress=False, **options).fit(table, split)


@pytest.fixture(scope="module")
def alone(small_config, table, split):
    """The same fit in this process."""
    return fitted(small_config, table, split, n_jobs=1)


def test_a_cluster_is_recognised(client):
    assert not on_cluster()
    with joblib.parallel_config(backend="dask"):
        assert on_cluster()
    with joblib.parallel_config(backend="loky"):
        assert not on_cluster()


def test_fit_on_a_cluster_equals_fit_in_one_process(client, alone, small_config, table, split):
    before = client.run(lambda dask_worker: dask_worker.state.executed_count)
    with joblib.parallel_config(backend="dask"):
        model = fitted(small_config, table, split)
    after = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert sum(after.values()) - sum(before.values()) >= table.t
    np.testing.assert_allclose(model.predict(table), alone.predict(table), rtol=1e-4, atol=1e-4)


def test_a_library_on_a_cluster(client, alone, table, tmp_path):
    smiles = [*([*table.smiles, "C1CC", ""] * 3), "C"]
    pd.DataFrame({"smiles": smiles}).to_csv(tmp_path / "library.csv", index=False)
    one = stream_molecules(
        tmp_path / "library.csv", tmp_path / "one.parquet", alone.embed, chunk_rows=40, n_jobs=1
    )
    with joblib.parallel_config(backend="dask"):
        two = stream_molecules(tmp_path / "library.csv", tmp_path / "two.parquet", alone.embed, chunk_rows=40)
    assert one.rows == two.rows == len(smiles) and one.n_rejected == two.n_rejected == 6
    here, there = pd.read_parquet(tmp_path / "one.parquet"), pd.read_parquet(tmp_path / "two.parquet")
    pd.testing.assert_frame_equal(here, there, rtol=1e-5, atol=1e-6)
    assert here["row"].tolist() == list(range(len(smiles)))


def test_a_worker_killed_midway_loses_nothing(client, small_config, table, split):
    """The worker dies while it trains; its network is trained again by the other one, or by its successor."""
    long = replace(small_config, min_steps=1500, evaluations=5)
    workers = client.run(os.getpid)
    killed = []

    def kill():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            busy = [address for address, keys in client.processing().items() if keys]
            if len(busy) == 2 and busy[0] in workers:
                time.sleep(0.3)
                os.kill(workers[busy[0]], signal.SIGKILL)
                killed.append(busy[0])
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    with joblib.parallel_config(backend="dask"):
        model = fitted(long, table, split)
    thread.join()
    assert killed
    one = fitted(long, table, split, n_jobs=1)
    np.testing.assert_allclose(model.predict(table), one.predict(table), rtol=1e-4, atol=1e-4)
