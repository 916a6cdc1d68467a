"""Small targets and quick trials, for the tests of what makes them."""

from tests.training.conftest import SAMPLES
from tests.training.targets.target_folders import target_at, write_csv
from training.trials.task.initialisation import look_up
from training.trials.task.prepared_task import find_items, read_items
from training.trials.trial import Trial, run_trial

QUICK = ("settings.steps=2", "settings.validate_every=1", "settings.batch_size=2", 'settings.precision="float32"')
SMALL = ("grid.size=[16, 16, 8]", "crop=16")
ORGANS = ("pt_201", "pt_207", "pt_222", "pt_225", "pt_229", "pt_230")  # cord and mandible are drawn in these


def organs(tmp_path, *overrides, test=ORGANS[4:]):
    """Whole CT of the samples, in the form that the target expects."""
    root = tmp_path / "openkbp"
    root.mkdir()
    for kind in ("ct", "labels"):
        (root / kind).symlink_to(SAMPLES / kind)
    rows = [(name, "validation-pats" if name in test else "train-pats", 9, 9) for name in ORGANS]
    rows += [("pt_999", "train-pats", 9, 9), ("pt_998", "train-pats", 0, 9)]
    write_csv(root / "patients.csv", ("patient", "split", "spinal_cord", "mandible"), rows)
    small = ("settings.patch=[16, 16, 8]", "grid.spacing=[8, 8, 6]", "splits.validation=0.25")
    return target_at("openkbp-organs", root, *QUICK, *small, *overrides)


def task_of(target, folder, *inits):
    """The target, ready for trials of these initialisations."""
    return read_items(
        find_items(target, [look_up(str(init)) for init in inits], progress=False), folder, progress=False
    )


def trial_of(target, tmp_path, init, number=0, fraction=1.0, checkpoint=None):
    """One trial, run."""
    trial = Trial(task_of(target, tmp_path, init), look_up(str(init)), number, fraction)
    return run_trial(trial, checkpoint, progress=False)
