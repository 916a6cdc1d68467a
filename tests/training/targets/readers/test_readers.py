"""Readers of public data sets, on folders in exactly their on-disk form, with broken items in them."""

import pytest

from sg_hub.errors import ReadError, SgHubError
from tests.support.folders import TEST_SAMPLES
from tests.training.targets.target_folders import target_at
from training.targets import list_targets, load_target

LIVER = TEST_SAMPLES / "totalsegmentator"


def test_every_shipped_target_is_valid_and_says_what_it_is():
    codes = set()
    for name in list_targets():
        target = load_target(name)
        assert target.name == name
        assert target.title
        assert target.description
        codes.add(target.code)
    assert {"NCC", "NCS", "LCS", "BMS", "DXC", "PXS"} <= codes


@pytest.mark.parametrize("name", list_targets())
def test_a_missing_folder_is_named(name, tmp_path):
    with pytest.raises(ReadError, match="not there"):
        target_at(name, tmp_path / "nowhere").split_items()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SgHubError, match="empty"):
        target_at(name, tmp_path / "empty").split_items()
