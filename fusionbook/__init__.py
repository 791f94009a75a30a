"""Learn many molecular properties from sparse data by fusing the embeddings of single-property networks.

Names are loaded when they are first used, so that `import fusionbook` costs nothing.
"""

from importlib import import_module

from ._version import __version__

_MODULE_OF = {
    "MoleculeTable": "molecules",
    "read_molecules": "molecules",
    "sparsify": "molecules",
    "split_molecules": "molecules",
    "load_xtb": "datasets",
    "download_qm9": "datasets",
    "download_moleculenet": "datasets",
    "compute_xtb": "xtb",
    "TrainConfig": "training",
    "SingleTask": "fusion",
    "MultiTask": "fusion",
    "FusedMultiTask": "fusion",
    "compare": "fusion",
    "load_model": "fusion",
    "leverage_scores": "cur",
    "choose_rank": "cur",
    "pca": "cur",
    "block_leverage": "cur",
    "transfer_matrix": "connections",
    "connection_network": "connections",
    "feature_card": "explain",
    "applicability_domain": "explain",
    "fit_intervals": "explain",
    "describe": "plots",
    "explore": "widgets",
}

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name):
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'fusionbook' has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
