"""Rows of a table of results, made up."""

from training.trials.task.initialisation import name_of

SETTINGS = {
    "title": "a task",
    "description": "What it is.",
    "code": "NCC",
    "dataset": "set",
    "head": "classification",
    "metric": "auc",
    "ndim": 3,
    "min_positives": 1,
    "settings": {"steps": 5, "batch_size": 2, "lr": 0.1, "precision": "float32"},
}

TRIALS = {
    "best": [0.90, 0.91, 0.92, 0.905],
    "near": [0.89, 0.915, 0.90, 0.91],
    "random:best": [0.70, 0.72, 0.69, 0.71],
}


def row(init, trial, value, target="task", fraction=1.0, **settings):
    values = {"auc": value}
    return {
        "key": f"{target}-{init}-{fraction}-{trial}".replace(":", "_"),
        "target": target,
        "init": init,
        "task": target,
        "protocol": 2,
        "weights": f"random:of {name_of(init)}" if init.startswith("random:") else f"whole:{init}",
        "architecture": f"of {name_of(init)}",
        "unchecked": "",
        "trial": trial,
        "fraction": fraction,
        "metric": "auc",
        "value": value,
        "values": values,
        "left_out": [],
        "items": {"train": 8, "validation": 2, "test": 4},
        "patients": {"train": 4, "validation": 1, "test": 2},
        "curve": [[1, 0.5, 1.0], [5, value, 0.5]],
        "minutes": 1.5,
        "settings": SETTINGS | {"name": target} | settings,
        "machine": "2 CPU cores",
    }
