"""Whole scans of one size."""

import torch

from training.discovery.cubes import to_network
from training.discovery.whole_scans import WholeScans, resize_scans
from training.run.processes.process_group import Process

ALONE = Process(0, 1, torch.device("cpu"))


def test_every_scan_resized_and_of_each_split_its_own(store, tmp_path):
    resize_scans(store, (16, 8, 8), tmp_path / "new" / "whole.npy", ALONE)
    everyone = WholeScans(store, tmp_path / "new" / "whole.npy")
    assert len(everyone) == 15
    for index, name in enumerate(store.names()):
        (scan,) = everyone[index]
        assert scan.shape == (1, 16, 8, 8)
        torch.testing.assert_close(scan, to_network(store.whole(name), store.window, (16, 8, 8)), atol=1e-3, rtol=0)
        assert everyone.describe(index) == name
    validation = WholeScans(store, tmp_path / "new" / "whole.npy", "validation")
    assert [validation.describe(i) for i in range(len(validation))] == store.names("validation")
    assert torch.equal(validation[1][0], everyone[store.names().index(store.names("validation")[1])][0])
    assert (everyone.patient_count(), validation.patient_count()) == (15, 3)
