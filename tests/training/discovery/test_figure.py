"""The picture of discovery, which is published with the weights."""

import training.discovery.figure as module
from tests.training.discovery.conftest import recipe_of
from training.data.leakage import patient_hashes
from training.discovery.discover import discover


def test_patients_stand_in_it_under_their_hashes(root, store, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "save", lambda figure, _: drawn.append(figure))
    discover(recipe_of(root, 'publish.dataset="mine"'), progress=False)
    titles = [axis.get_title() for axis in drawn[0].axes if axis.get_title()]
    hashes = {name: patient_hashes("mine", [name])[0] for name in store.names()}
    assert titles
    assert {title.rpartition(": ")[2] for title in titles} <= set(hashes.values())
    assert not any(name in title for title in titles for name in hashes)
