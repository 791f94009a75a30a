"""The enumerator, its filters, the calculator and the bundled table."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from fusionbook import xtb
from fusionbook.core import InputError

DATA = resources.files("fusionbook") / "data"
needs_tblite = pytest.mark.skipif(
    importlib.util.find_spec("tblite") is None and not os.environ.get("CI"),
    reason="tblite is not installed (pip install fusionbook[xtb])",
)

BAD = {
    "gem-diol": "CC(O)O",
    "hemiacetal": "CC(O)OC",
    "hemiaminal": "CC(O)N",
    "aminal": "CNCNC",
    "chloromethyl ether": "COCCl",
    "alpha-fluoro amine": "NCF",
    "fluorohydrin on one carbon": "CC(F)O",
    "orthoester": "COC(OC)OC",
    "dithiol on one carbon": "SCS",
    "enol": "C=CO",
    "thioenol": "CC=CS",
    "enamine": "C=CN",
    "secondary enamine": "CNC=CC",
    "ynamine": "C#CN",
    "hydrazine": "CNNC",
    "hydroxylamine": "CNO",
    "peroxide": "COOC",
    "disulfide": "CSSC",
    "sulfenamide": "CNSC",
    "sulfenate": "COSC",
    "chloramine": "CNCl",
    "sulfonyl chloride": "CS(=O)(=O)Cl",
    "acyl chloride": "CC(=O)Cl",
    "acyl fluoride": "CC(=O)F",
    "anhydride": "CC(=O)OC(C)=O",
    "carbamic acid": "CNC(=O)O",
    "thioacid": "CC(=O)S",
    "thioaldehyde": "CC=S",
    "imine": "CC=N",
    "cyanohydrin": "CC(O)C#N",
    "allene": "C=C=C",
    "ketene": "C=C=O",
    "isocyanate": "CN=C=O",
    "cyclopropene": "C1=CC1",
    "cyclobutadiene": "C1=CC=C1",
    "methylenecyclopropane": "C=C1CC1",
    "amine and aldehyde": "NCCC=O",
    "amine and Michael acceptor": "NCCC=CC(C)=O",
    "thiol and Michael acceptor": "SCCC=CC#N",
    "amine and alkyl chloride": "NCCCl",
    "amine and acid": "NCC(=O)O",
    "beta-keto acid": "CC(=O)CC(=O)O",
    "two nitro groups": "O=[N+]([O-])CC[N+](=O)[O-]",
    "hydroxypyridine": "Oc1ccccn1",
    "aminofuran": "Nc1ccco1",
    "fluorine and chlorine on one carbon": "CC(F)Cl",
    "carbon tetrachloride": "ClC(Cl)(Cl)Cl",
    "N-acyl imidazole": "CC(=O)n1ccnc1",
    "ion": "C[NH3+]",
    "crowded": "NCC(O)CS",
}

GOOD = """
CCO OCCO NCCO COC CC(OC)OC C1COCO1 CC(C)=O CC=O OC(=O)C COC(C)=O CC(N)=O CN(C)C=O CC#N C[N+](=O)[O-] CS(C)(=O)=O CS(N)(=O)=O
CS(C)=O CSC CCS CCCl FC(F)(F)c1ccccc1 COC(F)(F)F c1ccccc1 c1ccncc1 c1cnoc1 c1cn[nH]c1 c1c[nH]cn1 c1ccsc1 Oc1ccccc1
Nc1ccccc1 CC=NO O=C1CCCN1 O=C1CCO1 C1CO1 C1CN1 C1CCOC1 C1COCCN1 C=CC#N C=CC(=O)OC C#CC COC=C Clc1ccccn1 c1ccc2[nH]ccc2c1
""".split()


@pytest.mark.parametrize("what", BAD)
def test_implausible_molecules_are_refused(what):
    assert xtb.implausible(Chem.MolFromSmiles(BAD[what]))


@pytest.mark.parametrize("smiles", GOOD)
def test_common_molecules_pass(smiles):
    assert xtb.implausible(Chem.MolFromSmiles(smiles)) == ""


def test_every_pattern_is_valid_smarts():
    singles = [*xtb.REJECT.values(), *xtb.SITES, *xtb.ALLOWED_HETERO_BONDS, xtb.HETERO_BOND]
    grouped = [smarts for smarts, _ in xtb.GROUPS.values()]
    paired = [smarts for pair in xtb.CLASHES.values() for smarts in pair]
    for smarts in singles + grouped + paired:
        assert Chem.MolFromSmarts(smarts) is not None, smarts


def test_every_fragment_is_valid_and_every_substituent_has_one_open_valence():
    for _, cores in xtb.CORES.values():
        for smiles in cores:
            assert Chem.MolFromSmiles(smiles) is not None, smiles
    for _, substituents in xtb.SUBSTITUENTS.values():
        for smiles in substituents.split():
            dummies = [a for a in Chem.MolFromSmiles(smiles).GetAtoms() if a.GetAtomicNum() == 0]
            assert [a.GetDegree() for a in dummies] == [1], smiles


@pytest.fixture(scope="module")
def drawn():
    return xtb.enumerate_molecules(250, seed=3)


def test_enumerator_is_deterministic(drawn):
    assert xtb.enumerate_molecules(250, seed=3) == drawn
    assert xtb.enumerate_molecules(250, seed=4) != drawn


def test_enumerator_obeys_its_laws(drawn):
    assert len(drawn) == len(set(drawn)) == 250
    for smiles in drawn:
        mol = Chem.MolFromSmiles(smiles)
        assert Chem.MolToSmiles(mol) == smiles
        assert 3 <= mol.GetNumHeavyAtoms() <= 14
        assert {atom.GetSymbol() for atom in mol.GetAtoms()} <= {"C", "N", "O", "F", "S", "Cl"}
        assert Chem.GetFormalCharge(mol) == 0
        assert not any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
        assert len(Chem.GetMolFrags(mol)) == 1
        assert xtb.implausible(mol) == ""


def test_enumerator_keeps_global_randomness_alone():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    xtb.enumerate_molecules(5, seed=0)
    assert (np.random.get_state()[1] == before).all()


def test_enumerator_says_when_the_fragments_dry_up(monkeypatch):
    monkeypatch.setattr(xtb, "SIZES", {3: 1})
    with pytest.raises(InputError, match="gave only"):
        xtb.enumerate_molecules(500)


@pytest.mark.parametrize("n, seed", [(0, 0), (10, -1), (2.5, 0)])
def test_enumerator_refuses_numbers_out_of_range(n, seed):
    with pytest.raises(InputError):
        xtb.enumerate_molecules(n, seed=seed)


def test_joining_at_an_aromatic_nitrogen_removes_its_hydrogen():
    pyrrole = Chem.MolFromSmiles("c1cc[nH]c1")
    site = next(atom.GetIdx() for atom in pyrrole.GetAtoms() if atom.GetAtomicNum() == 7)
    joined = xtb._join(pyrrole, site, Chem.MolFromSmiles("*CC"))
    assert Chem.MolToSmiles(joined) == Chem.CanonSmiles("CCn1cccc1")


# ---------------------------------------------------------------- computing


@pytest.fixture(scope="module")
def simple():
    """Water, methane, ethanol, benzene: all fourteen properties, indexed by SMILES."""
    smiles = ["O", "C", "CCO", "c1ccccc1"]
    frame = xtb.compute_xtb(smiles, list(xtb.PROPERTIES), n_jobs=1, progress=False)
    assert frame["problem"].tolist() == [""] * 4
    frame.columns = [*xtb.PROPERTIES, "problem"]
    return frame.set_index(pd.Index(smiles))


@needs_tblite
def test_physical_laws(simple):
    np.testing.assert_allclose(simple["gap"], simple["lumo"] - simple["homo"], rtol=0, atol=1e-12)
    assert (simple["gap"] > 0).all()
    assert (simple["ip"] > simple["ea"]).all()
    assert (simple["polarisability"] > 0).all()
    assert (simple["atomisation"] > 0).all()
    assert (simple["q_max"] > 0).all()
    assert (simple["q_min"] < 0).all()
    difference = simple["solvation"] - simple["solvation_octanol"]
    np.testing.assert_allclose(simple["logp"], difference / 1.36422, rtol=1e-4)


@needs_tblite
def test_symmetry_and_chemistry(simple):
    assert simple.loc["C", "dipole"] < 0.01
    assert simple.loc["c1ccccc1", "dipole"] < 0.01
    assert 1.8 < simple.loc["O", "dipole"] < 2.5
    assert simple.loc["O", "q_min"] == pytest.approx(-2 * simple.loc["O", "q_max"], rel=1e-3)
    assert simple.loc["C", "q_min"] == pytest.approx(-4 * simple.loc["C", "q_max"], rel=2e-2)
    assert simple.loc["O", "solvation"] < simple.loc["CCO", "solvation"] < simple.loc["C", "solvation"]
    assert simple["logp"].idxmax() == "c1ccccc1"
    assert simple["logp"].idxmin() == "O"
    assert simple["polarisability"].idxmax() == "c1ccccc1"


@needs_tblite
def test_radius_of_gyration_against_benzene_by_hand(simple):
    # a regular hexagon: six carbons at 1.39 and six hydrogens at 2.48 angstrom from the centre
    carbon, hydrogen = 12.011, 1.008
    by_hand = np.sqrt((carbon * 1.39**2 + hydrogen * 2.475**2) / (carbon + hydrogen))
    assert simple.loc["c1ccccc1", "rg"] == pytest.approx(by_hand, abs=0.02)


@needs_tblite
def test_atomisation_energy_from_total_energies(simple):
    from tblite.interface import Calculator

    numbers = np.array([8, 1, 1])
    positions, result = xtb._relax(
        numbers, np.array([[0, 0, 0], [0, 1.43, 1.11], [0, -1.43, 1.11]], dtype=float)
    )
    energies = []
    for number, unpaired in ((8, 2), (1, 1)):
        atom = Calculator("GFN2-xTB", np.array([number]), np.zeros((1, 3)), uhf=unpaired)
        atom.set("verbosity", 0)
        energies.append(atom.singlepoint().get("energy"))
    by_hand = (energies[0] + 2 * energies[1] - result.get("energy")) * 27.211386 / 3
    assert simple.loc["O", "atomisation"] == pytest.approx(by_hand, abs=1e-3)


@needs_tblite
def test_the_way_a_smiles_is_written_does_not_matter():
    frame = xtb.compute_xtb(["c1ccncc1", "n1ccccc1", "[cH]1ccncc1"], n_jobs=1, progress=False)
    values = frame.drop(columns="problem").to_numpy()
    assert (values == values[0]).all()


@needs_tblite
def test_mirror_images_have_the_same_properties():
    frame = xtb.compute_xtb(["C[C@H](F)C#N", "C[C@@H](F)C#N"], n_jobs=1, progress=False)
    first, second = frame.drop(columns="problem").to_numpy()
    np.testing.assert_allclose(first, second, rtol=5e-3, atol=5e-3)


@needs_tblite
def test_rows_that_cannot_be_computed_are_reported_in_place():
    cells = ["C1CC", "[NH4+]", "[CH3]", "[U]F", "CC*", "CCO.O", "", None, float("nan"), "[He]", "C" * 80, "O"]
    words = [
        "RDKit",
        "ion",
        "unpaired",
        "'U'",
        "'*'",
        "salt",
        "empty",
        "empty",
        "empty",
        "1 atom",
        "242 atom",
        "",
    ]
    frame = xtb.compute_xtb(cells, ["dipole", "rg"], n_jobs=1, progress=False)
    assert list(frame.index) == list(range(12))
    for problem, word in zip(frame["problem"], words):
        assert word in problem
    assert frame["dipole (D)"].notna().tolist() == [False] * 11 + [True]
    assert frame["problem"].iloc[-1] == ""


@needs_tblite
def test_elements_without_a_free_atom_reference_lack_the_atomisation_energy_only():
    others = [name for name in xtb.PROPERTIES if name != "atomisation"]
    frame = xtb.compute_xtb(["[AsH3]", "[Na]C"], others, n_jobs=1, progress=False)
    assert frame["problem"].tolist() == ["", ""]
    assert frame.drop(columns="problem").notna().all(axis=None)
    frame = xtb.compute_xtb(["[AsH3]", "O"], ["rg", "atomisation"], n_jobs=1, progress=False)
    assert "no free-atom reference for As" in frame.loc[0, "problem"]
    assert "`atomisation`" in frame.loc[0, "problem"]
    assert frame.loc[1, "problem"] == ""


@needs_tblite
def test_isotopes_have_their_own_mass():
    frame = xtb.compute_xtb(["O", "[2H]O[2H]", "[18OH2]", "[16OH2]"], ["rg", "gap"], n_jobs=1, progress=False)
    plain, heavy_ends, heavy_centre, usual = frame["rg (angstrom)"]
    assert heavy_centre < plain < heavy_ends
    assert usual == pytest.approx(plain, rel=1e-3)
    np.testing.assert_allclose(frame["gap (eV)"], frame.loc[0, "gap (eV)"], atol=1e-3)
    # ends at x = +half and -half on the line y = 0, the centre at y = height; the mean square distance from the mass centre
    half, height = 0.96 * np.sin(np.radians(107) / 2), 0.96 * np.cos(np.radians(107) / 2)
    by_hand = []
    for end in (1.008, 2.014101778):
        share = 2 * end / (2 * end + 15.999)
        by_hand.append(np.sqrt(share * half**2 + share * (1 - share) * height**2))
    assert heavy_ends / plain == pytest.approx(by_hand[1] / by_hand[0], rel=2e-3)


def test_atoms_without_an_isotope_label_have_the_mean_mass_of_their_element():
    table = Chem.GetPeriodicTable()
    for number in range(1, 87):
        assert Chem.Atom(number).GetMass() == table.GetAtomicWeight(number)


@needs_tblite
def test_on_error_raise_lists_the_rows():
    with pytest.raises(InputError, match=r"2 of 3.*row 1 'C1CC'.*row 2 '\[NH4\+\]'"):
        xtb.compute_xtb(["O", "C1CC", "[NH4+]"], ["rg"], n_jobs=1, progress=False, on_error="raise")


@needs_tblite
def test_choosing_properties():
    frame = xtb.compute_xtb(["O"], ["rg", "homo (eV)", "logp"], n_jobs=1, progress=False)
    assert list(frame.columns) == ["homo (eV)", "logp", "rg (angstrom)", "problem"]
    frame = xtb.compute_xtb(["O"], "gap", n_jobs=1, progress=False)
    assert list(frame.columns) == ["gap (eV)", "problem"]
    frame = xtb.compute_xtb(pd.Series(["O"], index=[7]), n_jobs=1, progress=False)
    assert list(frame.columns) == [*(xtb.column_name(name) for name in xtb.TABLE), "problem"]
    assert list(frame.index) == [0]
    empty = xtb.compute_xtb([], progress=False)
    assert empty.shape == (0, 13)


@needs_tblite
@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"smiles": "CCO"}, "list of SMILES"),
        ({"smiles": ["O"], "properties": ["dipol"]}, "Did you mean 'dipole'"),
        ({"smiles": ["O"], "properties": []}, "empty"),
        ({"smiles": ["O"], "on_error": "ignore"}, "on_error"),
        ({"smiles": ["O"], "seed": -1}, "seed"),
        ({"smiles": ["O"], "n_jobs": 0}, "n_jobs"),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(InputError, match=match):
        xtb.compute_xtb(**arguments, progress=False)


@needs_tblite
def test_processes_do_not_change_the_numbers_or_the_order():
    smiles = ["CCO", "CC(", "CC(=O)N", "c1ccoc1", "FC(F)F"]
    alone = xtb.compute_xtb(smiles, n_jobs=1, progress=False)
    together = xtb.compute_xtb(smiles, n_jobs=2, progress=False)
    pd.testing.assert_frame_equal(alone, together, check_exact=True)


def test_missing_tblite_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    with pytest.raises(InputError, match=r"pip install fusionbook\[xtb\]"):
        xtb.compute_xtb(["O"])


@needs_tblite
def test_a_relaxation_that_changes_the_molecule_is_refused(monkeypatch):
    real = xtb._relax

    def torn_apart(numbers, start):
        positions, result = real(numbers, start)
        positions = positions.copy()
        positions[0] += 5.0
        return positions, result

    monkeypatch.setattr(xtb, "_relax", torn_apart)
    frame = xtb.compute_xtb(["CCO"], ["rg"], n_jobs=1, progress=False)
    assert "C-C broke" in frame.loc[0, "problem"]
    assert np.isnan(frame.loc[0, "rg (angstrom)"])


@needs_tblite
def test_a_failure_of_the_method_becomes_a_problem(monkeypatch):
    def no_convergence(numbers, start):
        raise RuntimeError("SCF not converged\nin 250 cycles")

    monkeypatch.setattr(xtb, "_relax", no_convergence)
    frame = xtb.compute_xtb(["CCO"], ["rg"], n_jobs=1, progress=False)
    assert frame.loc[0, "problem"] == "RuntimeError: SCF not converged in 250 cycles"


def test_a_formed_bond_is_noticed():
    mol = Chem.AddHs(Chem.MolFromSmiles("CCC"))
    chain = np.array([[0.0, 0, 0], [1.5, 0, 0], [2.2, 1.3, 0]])
    hydrogens = np.array([[-5.0 - 5 * i, 5.0 * i, 9.0] for i in range(8)])
    positions = np.vstack([chain, hydrogens]) / xtb.ANGSTROM
    assert "C-H broke" in xtb._changed_bond(mol, positions)
    bare = Chem.MolFromSmiles("CCCC")
    folded = np.array([[0.0, 0, 0], [1.5, 0, 0], [1.5, 1.5, 0], [0.0, 1.5, 0]]) / xtb.ANGSTROM
    assert "C-C formed" in xtb._changed_bond(bare, folded)
    stretched = np.array([[0.0, 0, 0], [1.5, 0, 0], [2.2, 1.3, 0], [3.7, 1.3, 0]]) / xtb.ANGSTROM
    assert xtb._changed_bond(bare, stretched) == ""


# ---------------------------------------------------------------- the bundled table


@pytest.fixture(scope="module")
def bundled():
    return pd.read_csv(DATA / "xtb.csv.gz")


def test_bundled_table_is_whole(bundled):
    assert (DATA / "xtb.csv.gz").stat().st_size < 1_500_000
    assert list(bundled.columns) == ["smiles", *(xtb.column_name(name) for name in xtb.TABLE)]
    assert bundled.shape[1] == 13
    assert len(bundled) >= 6000
    assert bundled["smiles"].is_unique
    assert bundled.notna().all(axis=None)
    gap = (bundled["lumo (eV)"] - bundled["homo (eV)"]).round(4)
    np.testing.assert_allclose(bundled["gap (eV)"], gap, rtol=0, atol=1e-9)
    for smiles in bundled["smiles"][::25]:
        mol = Chem.MolFromSmiles(smiles)
        assert Chem.MolToSmiles(mol) == smiles
        assert xtb.implausible(mol) == ""


def test_bundled_counts_agree(bundled):
    build = json.loads((DATA / "xtb_build.json").read_text(encoding="utf-8"))
    failed = pd.read_csv(DATA / "xtb_failed.csv")
    assert list(failed.columns) == ["smiles", "reason"]
    assert build["molecules"] == len(bundled)
    assert build["failed"] == len(failed)
    assert build["candidates"] == len(bundled) + len(failed) == build["n"]
    assert not set(failed["smiles"]) & set(bundled["smiles"])
    card = (DATA / "xtb_card.md").read_text(encoding="utf-8")
    assert f"{len(bundled):,}" in card
    for name, unit in xtb.PROPERTIES.items():
        if name in xtb.TABLE:
            assert f"| `{name}` | {unit or '-'} |" in card


def test_bundled_correlations_are_strong_medium_and_weak(bundled):
    r = bundled.drop(columns="smiles").corr().abs().to_numpy()
    pairs = r[np.triu_indices_from(r, k=1)]
    assert (pairs > 0.8).sum() >= 2
    assert ((pairs > 0.4) & (pairs < 0.8)).sum() >= 5
    assert (pairs < 0.2).sum() >= 5


@needs_tblite
def test_recomputing_bundled_rows_gives_the_same_numbers(bundled):
    wanted = ["c1ccncc1", "CC(C)=O", "C1CCOC1"]
    rows = bundled.set_index("smiles").loc[wanted]
    again = xtb.compute_xtb(wanted, n_jobs=1, progress=False).drop(columns="problem")
    assert list(again.columns) == list(rows.columns)
    np.testing.assert_allclose(again.to_numpy(), rows.to_numpy(), rtol=2e-3, atol=5e-3)


@needs_tblite
def test_a_build_that_was_stopped_goes_on(tmp_path):
    xtb.build_xtb_table(tmp_path / "a", n=5, seed=2, n_jobs=1, progress=False)
    names = ("xtb.csv.gz", "xtb_failed.csv", "xtb_build.json")
    whole = [(tmp_path / "a" / name).read_bytes() for name in names]
    lines = (tmp_path / "a" / "xtb_checkpoint.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "b").mkdir()
    cut = "".join(lines[:3]) + lines[3][:40]  # recipe, two molecules, and a line that was cut
    (tmp_path / "b" / "xtb_checkpoint.jsonl").write_text(cut, encoding="utf-8")
    xtb.build_xtb_table(tmp_path / "b", n=5, seed=2, n_jobs=1, progress=False)
    assert [(tmp_path / "b" / name).read_bytes() for name in names] == whole
    with pytest.raises(InputError, match="another build"):
        xtb.build_xtb_table(tmp_path / "b", n=6, seed=2, n_jobs=1, progress=False)


def test_a_refused_number_of_molecules_leaves_the_folder_to_the_next_build(tmp_path, monkeypatch):
    monkeypatch.setattr(xtb, "_tblite", lambda: None)
    for n in (0, 200_000):
        with pytest.raises(InputError, match="`n`"):
            xtb.build_xtb_table(tmp_path / "a", n=n, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_failed_molecules_are_listed_not_dropped(tmp_path):
    values = dict.fromkeys(xtb.TABLE, 0.123456789) | {"homo": -10.00004, "lumo": 1.00004}
    rows = [
        {"smiles": "CCO", "values": values, "problem": ""},
        {"smiles": "CCC", "values": {}, "problem": "a bond C-C broke in the relaxation"},
    ]
    xtb._write_table(tmp_path, rows, {"n": 2})
    table = pd.read_csv(tmp_path / "xtb.csv.gz")
    assert table["smiles"].tolist() == ["CCO"]
    assert table.loc[0, ["homo (eV)", "lumo (eV)", "gap (eV)"]].tolist() == [-10.0, 1.0, 11.0]
    failed = pd.read_csv(tmp_path / "xtb_failed.csv")
    assert failed.to_dict("records") == [{"smiles": "CCC", "reason": "a bond C-C broke in the relaxation"}]
    build = json.loads((tmp_path / "xtb_build.json").read_text(encoding="utf-8"))
    assert (build["candidates"], build["molecules"], build["failed"]) == (2, 1, 1)


@needs_tblite
def test_command_line(tmp_path):
    run = [sys.executable, "-m", "fusionbook.xtb"]
    good = subprocess.run(
        [*run, "--out", str(tmp_path), "--n", "4", "--n-jobs", "2"], capture_output=True, text=True
    )
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["candidates"] == 4
    assert len(pd.read_csv(tmp_path / "xtb.csv.gz")) + len(pd.read_csv(tmp_path / "xtb_failed.csv")) == 4
    assert xtb.main(["--out", str(tmp_path), "--n", "5"]) == 2
