"""Trials of a grid and scans of `prepare` as tasks of Ray."""

import os
import signal
from pathlib import Path

import pytest

from sg_hub.errors import InvalidInputError
from tests.training.scan_files import recipe_of, write_source
from tests.training.trials.small_grid import run
from training.data import on_ray as scans_on_ray
from training.data.prepare import prepare
from training.run.processes import ray_cluster
from training.trials.grids import on_ray
from training.trials.grids.results import read_results

CONVERT, RESULT = scans_on_ray._convert, on_ray._result


def dies_once(mark: Path) -> None:
    """The first task that comes here ends its process."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def convert_or_die(item, url, settings, folder):
    dies_once(Path(url).with_name("killed"))
    return CONVERT(item, url, settings, folder)


def result_or_die(task, trial, *more):
    dies_once(Path(trial.start.init.rpartition(":")[2]).with_name("killed"))
    return RESULT(task, trial, *more)


@pytest.fixture(scope="module")
def cluster():
    """Two machines, as Ray sees it: processes of this one."""
    ray_cluster.require_ray()
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


@pytest.mark.slow
def test_on_a_cluster_a_killed_worker_costs_nothing(cluster, place, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(scans_on_ray, "_convert", convert_or_die)
    monkeypatch.setattr(on_ray, "_result", result_or_die)
    source = write_source(tmp_path / "ct")
    (source / "broken.nii.gz").write_bytes(b"nothing")
    prepare(recipe_of(source, tmp_path / "alone"), progress=False)
    converter = scans_on_ray.engine(cluster)
    summary = prepare(recipe_of(source, tmp_path / "shared"), converter=converter, progress=False)
    assert (tmp_path / "shared" / "killed").exists()
    assert list(summary.skipped) == ["broken.nii.gz"]
    table = "store.zarr/patients.csv"
    assert (tmp_path / "shared" / table).read_bytes() == (tmp_path / "alone" / table).read_bytes()

    run(place, tmp_path / "out", targets=["lidc-nodules"], trials=1, engine=on_ray.engine(1, 0, cluster, "cpu"))
    assert (place / "killed").exists()
    rows, serial = read_results(tmp_path / "out"), read_results(finished)
    assert len(rows) == 2
    both = [key for key in rows if key in serial]
    assert both
    assert all(rows[key]["values"] == serial[key]["values"] for key in both)
    lines = (tmp_path / "out" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2, "nothing is doubled"


def test_a_machine_alone_is_the_default_and_nothing_is_reported(monkeypatch):
    import ray
    from ray._common.usage.usage_lib import usage_stats_enabled

    started = {}
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    monkeypatch.setattr(ray, "init", lambda **options: started.update(options))
    with ray_cluster.ray_cluster(None):
        assert started["address"] == "local"
        assert not usage_stats_enabled()


def test_a_cluster_that_is_not_there(monkeypatch):
    import ray

    def init(**_):
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "init", init)
    with (
        pytest.raises(
            InvalidInputError, match=r"no Ray cluster at 'auto' \(nobody answers\): start one with `ray start`"
        ),
        ray_cluster.ray_cluster("auto"),
    ):
        pass


def test_more_than_a_cluster_has_is_refused():
    on_ray._check_resources({"CPU": 4.0}, 4, 0)
    with pytest.raises(InvalidInputError, match="--cpus-per-trial 5: the cluster has 4 CPUs"):
        on_ray._check_resources({"CPU": 4.0}, 5, 0)
    with pytest.raises(InvalidInputError, match=r"--gpus-per-trial 0\.25: the cluster has 0 GPUs"):
        on_ray._check_resources({"CPU": 4.0}, 1, 0.25)
