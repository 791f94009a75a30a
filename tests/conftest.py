"""Tables that several tests share: small, made here, with properties RDKit computes."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors

from fusionbook.molecules import MoleculeTable, Task, split_molecules
from fusionbook.training import TrainConfig

ENDS = ["O", "N", "F", "Cl", "C#N", "C=O", "S", "OC", "C(=O)O", "C(=O)N"]


@pytest.fixture(scope="session")
def small_config():
    return TrainConfig(
        d_h=16, head_width=16, readout="sum", min_steps=120, epochs=1, batch_size=16, rate_peak=4e-3
    )


@pytest.fixture(scope="session")
def table():
    """80 chains, 3 properties, about 40 % of the labels hidden, each property's in different places."""
    smiles = ["C" * k + end for k in range(2, 10) for end in ENDS]
    mols = [Chem.MolFromSmiles(text) for text in smiles]
    Y = np.array([[Descriptors.MolWt(mol), Descriptors.TPSA(mol), Descriptors.MolLogP(mol)] for mol in mols])
    Y[np.random.default_rng(0).uniform(size=Y.shape) < 0.4] = np.nan
    return MoleculeTable(smiles, Y, (Task("mass", "g/mol"), Task("tpsa", "A^2"), Task("logP")))


@pytest.fixture(scope="session")
def split(table):
    return split_molecules(table, fractions=(0.6, 0.2, 0.2), seed=0)
