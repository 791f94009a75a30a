"""Write chemprop_reference.npz: what Chemprop 2 computes for 200 molecules with fixed random weights.

Run it in an environment that has Chemprop (the package itself never needs Chemprop):

    python -m venv cp && cp/bin/pip install chemprop==2.3.1
    cp/bin/python tests/oracles/make_chemprop_reference.py

The result does not depend on the moment or on PyTorch's random numbers: the weights come from NumPy's
default_rng. Layout of the file: README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from chemprop.data import BatchMolGraph
from chemprop.featurizers import SimpleMoleculeMolGraphFeaturizer
from chemprop.models import MPNN
from chemprop.nn import BondMessagePassing, MeanAggregation, NormAggregation, RegressionFFN, SumAggregation
from chemprop.utils import make_mol

SEED = 0
N_TASKS = 3
MODELS = {"shallow": {"d_h": 24, "depth": 3}, "deep": {"d_h": 16, "depth": 5}}
READOUTS = {"mean": MeanAggregation, "sum": SumAggregation, "norm": NormAggregation}

SIDE_CHAINS = {
    "A": "C",
    "D": "CC(=O)[O-]",
    "E": "CCC(=O)O",
    "F": "Cc1ccccc1",
    "H": "Cc1c[nH]cn1",
    "I": "[C@@H](C)CC",
    "K": "CCCC[NH3+]",
    "L": "CC(C)C",
    "M": "CCSC",
    "N": "CC(N)=O",
    "Q": "CCC(N)=O",
    "R": "CCCNC(N)=[NH2+]",
    "S": "CO",
    "T": "[C@@H](C)O",
    "V": "C(C)C",
    "W": "Cc1c[nH]c2ccccc12",
    "Y": "Cc1ccc(O)cc1",
}


def peptide(sequence: str) -> str:
    """SMILES of a linear peptide of L amino acids, from one-letter codes (G has no side chain)."""
    residues = ["NCC(=O)" if x == "G" else f"N[C@@H]({SIDE_CHAINS[x]})C(=O)" for x in sequence]
    return "".join(residues) + "O"


# Written by hand; whitespace separates the molecules.
MOLECULES = {
    "neutral organic": """
        CC CCO CC(C)=O CC(=O)O CCN CC(=O)NC C=CC=C C1CCCCC1 c1ccccc1
        O=Cc1ccccc1O FC(F)(F)c1ccccc1 BrCCBr O=C=O
        NC(=O)N CC(=O)c1ccc(OC)cc1 C1CC1 C1COCCO1 OCC(O)CO CNC(=O)Oc1ccccc1
        C12C3C4C1C5C2C3C45 c1cc2ccc3ccc4ccc5ccc6ccc1c7c2c3c4c5c67 ClC=CCl""",
    "single atoms and hydrogen": """
        C O N [Na+] [Cl-] [He] [Ar] [Xe] [H][H] [H+] F S""",
    "ions": """
        CC(=O)[O-] C[NH3+] C[N+](C)(C)C c1cc[nH+]cc1 [O-]c1ccccc1 [NH4+] [OH-] F[B-](F)(F)F
        F[P-](F)(F)(F)(F)F C[S+](C)C [O-]Cl(=O)(=O)=O [N-]=[N+]=[N-] C[C-](C#N)C#N [N-3] [Fe+3]
        [O-]P([O-])([O-])=O [Al+3] [CH3+]""",
    "zwitterions and formal charges": """
        [NH3+]CC(=O)[O-] C[N+](C)(C)CC(=O)[O-] C[N+](=O)[O-] c1ccccc1[N+](=O)[O-] C[N+]#[C-] CC=[N+]=[N-]
        C[N+]1=CN(C=C1)C [O-][n+]1ccccc1 C[N+](C)(C)[O-] [C-]#[O+] [O-][N+](=O)c1ccc(cc1)N=[N+]=[N-]
        C[P+]([CH2-])(C)C""",
    "isotopes": """
        [2H]C([2H])([2H])O [13CH4] [2H]O[2H] [13C]1=CC=CC=C1 C[14C](=O)[18OH] [15NH3] [2H]c1ccccc1 [3H][3H]
        [18F]CC[11CH3] [35Cl]C[37Cl]""",
    "aromatic N-heterocycles": """
        c1ccncc1 c1cc[nH]c1 c1c[nH]cn1 c1cnccn1 c1nc[nH]n1 c1nnn[nH]1 c1ccc2[nH]ccc2c1 c1ccc2ncccc2c1
        Cn1cnc2c1c(=O)n(C)c(=O)n2C Nc1ncnc2[nH]cnc12 c1cnc2ncncc2n1 c1ccc2nc3ccccc3cc2c1 O=c1cc[nH]c(=O)[nH]1
        c1csc(n1)-c1ccccn1 c1conc1 c1nsnc1 Cc1nnc(C)s1""",
    "sulfur": """
        CS(C)=O CS(C)(=O)=O CS(=O)(=O)N Nc1ccc(cc1)S(=O)(=O)Nc1ccccn1 FS(F)(F)(F)(F)F OS(=O)(=O)O
        CS(=O)(=O)Cl CSSC CC(=S)N C1CCS(=O)(=O)C1 FS(F)(F)F O=S=O CS(C)(=N)=O c1ccc2c(c1)C(=O)NS2(=O)=O""",
    "phosphorus": """
        CP(C)C CP(C)(C)=O COP(=O)(OC)OC FP(F)(F)(F)F OP(O)(=O)OP(O)(O)=O CCOP(=S)(OCC)Oc1ccccc1
        c1ccccc1P(c1ccccc1)c1ccccc1 ClP(Cl)(Cl)(Cl)Cl C1=CC=CP=C1 [PH5]""",
    "tetrahedral stereo": """
        C[C@H](O)F C[C@@H](O)F C[C@H](N)C(=O)O O[C@@H]1CCCC[C@H]1O C[C@@]1(O)CC[C@H](C)CC1 C[S@](=O)c1ccccc1
        OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O CC(=O)O[C@@H]1C[C@H]2CC[C@@H]1N2C C[P@](=O)(O)c1ccccc1
        F[C@](Cl)(Br)I""",
    "double-bond stereo": """
        C/C=C/C C/C=C\\C F/C=C/F F/C=C\\F OC(=O)/C=C/C(=O)O OC(=O)/C=C\\C(=O)O C/C=N/O c1ccccc1/N=N/c1ccccc1
        C(/C=C/c1ccccc1)=O C[C@H](O)/C=C/C""",
    "salts and mixtures": """
        [Na+].[Cl-] CC(=O)[O-].[K+] C[NH3+].[Cl-] O.CCO Cc1ccc(cc1)S(=O)(=O)O.NCCO [Ca+2].[O-]C(=O)C([O-])=O
        OCC[N+](C)(C)C.[Br-] [NH4+].[NH4+].[O-]S([O-])(=O)=O Cl.CN1CCC[C@H]1c1cccnc1""",
    "boron, silicon, selenium, iodine": """
        OB(O)c1ccccc1 CC1(C)OB(OC1(C)C)c1ccncc1 C[Si](C)(C)C CO[Si](OC)(OC)OC C[Si]1(C)O[Si](C)(C)O1
        c1cc[se]c1 C[Se]C Ic1ccccc1 O=I(=O)c1ccccc1 FI(F)(F)(F)F [SiH4]""",
    "metals and rare elements": """
        Cl[Pt](Cl)([NH3])[NH3] [NH3]->[Pt](Cl)(Cl)<-[NH3] C[Hg]C Cl[Hg]Cl CC[Pb](CC)(CC)CC C[Sn](C)(C)C [U]
        Cl[Pd-2](Cl)(Cl)Cl [Fe+2].c1cc[cH-]c1.c1cc[cH-]c1 [Li]CCCC C[Mg]Br C[As](C)C C[Te]C
        C[Pt@SP1](F)(Cl)[NH3] O=[Os](=O)(=O)=O [Ti+4].[Cl-].[Cl-].[Cl-].[Cl-] F[Xe]F
        [Be].[Ne].[Sc].[V].[Cr].[Mn].[Co].[Ni].[Cu].[Zn].[Ga].[Ge].[Kr]""",
    "triple bonds and cumulenes": """
        C#C CC#N N#CC#N C=C=C C#Cc1ccccc1 N#N""",
    "large rings": """
        C1CCCCCCCCCCCCC1 C1COCCOCCOCCOCCOCCO1 CC1CCCCCCCCCCCCC(=O)C1 C1=CC=CC=CC=CC=CC=CC=CC=CC=C1
        c1cc2cc3ccc(cc4ccc(cc5ccc(cc1n2)[nH]5)n4)[nH]3""",
    "peptides": " ".join(peptide(x) for x in ("GG", "AF", "GSH", "YGGFM", "RKDE", "WIVLQTN")),
    "radicals": """
        [CH3] C[CH2] [O][O] [OH] CC1(C)CCCC(C)(C)N1[O] [N]=O [CH2] c1ccccc1[O]""",
    "about a hundred heavy atoms": " ".join([peptide("GIVEQAFTSYLRN"), "O" + "CCO" * 33]),
}


def random_weights(
    rng: np.random.Generator,
    d_h: int,
    V_mean: np.ndarray,  # (72,) how common each atom feature is
    E_mean: np.ndarray,  # (14,) how common each bond feature is
) -> dict[str, np.ndarray]:
    """Weights of one encoder and one head; float32 so that float32 and float64 models hold the same.

    Common features get smaller weights: they are nearly constant and would hold a unit's ReLU open or shut.
    """

    def normal(*shape: int, scale: float | np.ndarray) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    narrow = d_h**-0.5
    atom, bond = (0.1 + 0.6 * (1 - mean) for mean in (V_mean, E_mean))
    W_o = np.concatenate([normal(d_h, len(atom), scale=atom), normal(d_h, d_h, scale=narrow)], axis=1)
    return {
        "W_i.weight": normal(d_h, len(atom) + len(bond), scale=np.concatenate([atom, bond])),
        "W_h.weight": normal(d_h, d_h, scale=narrow),
        "W_o.weight": W_o,
        "W_o.bias": normal(d_h, scale=0.3),
        "ffn.0.weight": normal(d_h, d_h, scale=1.5 * narrow),
        "ffn.0.bias": normal(d_h, scale=0.3),
        "ffn.1.weight": normal(N_TASKS, d_h, scale=1.5 * narrow),
        "ffn.1.bias": normal(N_TASKS, scale=0.3),
    }


def build(weights: dict[str, np.ndarray], d_h: int, depth: int, readout: str) -> MPNN:
    """A Chemprop model that holds the given weights."""
    encoder = BondMessagePassing(d_h=d_h, depth=depth, bias=False)
    head = RegressionFFN(n_tasks=N_TASKS, input_dim=d_h, hidden_dim=d_h, n_layers=1)
    model = MPNN(encoder, READOUTS[readout](), head, batch_norm=False)
    parts = {"ffn.0": head.ffn[0][-1], "ffn.1": head.ffn[1][-1]}
    parts |= {name: getattr(encoder, name) for name in ("W_i", "W_h", "W_o")}
    assert encoder.W_i.bias is None and encoder.W_h.bias is None
    with torch.no_grad():
        for name, value in weights.items():
            part, kind = name.rsplit(".", 1)
            getattr(parts[part], kind).copy_(torch.from_numpy(value))
    return model.eval()


def evaluate(model: MPNN, batch: BatchMolGraph, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, d_h) after the readout and predictions (n, 3), computed in `dtype`."""
    batch.V = batch.V.to(dtype)
    batch.E = batch.E.to(dtype)
    with torch.no_grad():
        Z = model.to(dtype).fingerprint(batch)
        return Z.numpy().astype(np.float64), model.predictor(Z).numpy().astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("chemprop_reference.npz"))
    out = parser.parse_args().out

    kinds = [(kind, smiles) for kind, text in MOLECULES.items() for smiles in text.split()]
    smiles = [s for _, s in kinds]
    if len(smiles) != 200 or len(set(smiles)) != 200:
        raise SystemExit(f"wanted 200 different SMILES, got {len(smiles)} ({len(set(smiles))} different)")

    featurizer = SimpleMoleculeMolGraphFeaturizer()
    graphs = [featurizer(make_mol(s)) for s in smiles]
    E = np.concatenate([g.E for g in graphs])
    arrays = {
        "smiles": np.array(smiles),
        "kind": np.array([kind for kind, _ in kinds]),
        "n_atoms": np.array([len(g.V) for g in graphs], np.int32),
        "n_directed_bonds": np.array([len(g.E) for g in graphs], np.int32),
        "V": np.concatenate([g.V for g in graphs]).astype(np.float32),
        "E": E.astype(np.uint8),
        "edge_index": np.concatenate([g.edge_index for g in graphs], axis=1).astype(np.int16),
        "rev_edge_index": np.concatenate([g.rev_edge_index for g in graphs]).astype(np.int16),
    }
    assert np.array_equal(arrays["E"], E)

    rng = np.random.default_rng(SEED)
    float32_error = {}
    for name, size in MODELS.items():
        weights = random_weights(rng, size["d_h"], arrays["V"].mean(axis=0), arrays["E"].mean(axis=0))
        arrays |= {f"{name}.{key}": value for key, value in weights.items()}
        for readout in READOUTS:
            model = build(weights, **size, readout=readout)
            single = evaluate(model, BatchMolGraph(graphs), torch.float32)
            double = evaluate(model, BatchMolGraph(graphs), torch.float64)
            for what, a, b in zip(("embedding", "prediction"), single, double):
                arrays[f"{name}.{readout}.{what}"] = b
                scale = np.abs(b).max(axis=1, keepdims=True)
                float32_error[f"{name}.{readout}.{what}"] = float((np.abs(a - b) / scale).max())

    packages = ("chemprop", "torch", "rdkit", "numpy", "lightning")
    meta = {
        "format": 1,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "seed": SEED,
        "models": MODELS,
        "readouts": list(READOUTS),
        "n_tasks": N_TASKS,
        "norm": 100.0,
        "chemprop_float32_error": float32_error,
    }
    arrays["meta"] = np.array(json.dumps(meta))
    np.savez_compressed(out, **arrays)

    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB, {len(smiles)} molecules, {len(arrays['V'])} atoms")
    for name, error in float32_error.items():
        values = arrays[name]
        print(f"{name}: zero {np.mean(values == 0):.0%}, std {values.std():.3g}, float32 error {error:.1e}")


if __name__ == "__main__":
    main()
