import dataclasses

import numpy as np
import pytest

from tests.training.worth.known import data_of, labelled, maps_of, texture
from training.worth.measures import landmarks
from training.worth.measures.landmarks import Landmarks


def test_organs_are_found_where_the_same_features_are():
    moved = (3, -2, 2)
    data = data_of([labelled((4, 8, 4)), labelled((7, 6, 6))])
    one = texture()
    maps = dict(zip(data.arrays, (maps_of(one), maps_of(one.roll(moved, (1, 2, 3)))), strict=True))
    both = Landmarks(data, data.parts["test"], progress=False)
    errors = both.pairs(both.by_features(maps, ["encoder 0"]), "")
    assert np.isnan(errors[[0, 1], [0, 1]]).all()
    assert errors[[0, 1], [1, 0]].max() < 1.5  # mm; centres lie between cells
    far = np.linalg.norm(np.multiply(moved, data.voxel))
    np.testing.assert_allclose(both.pairs(both.by_position, "")[[0, 1], [1, 0]], far, rtol=1e-5)


def test_other_patients_vote_and_never_the_patient_himself(monkeypatch):
    monkeypatch.setattr(landmarks, "VOTERS", 2)
    corners = [(4, 8, 4), (7, 6, 6), (4, 6, 4), (5, 8, 6)]
    data = data_of([labelled(corner) for corner in corners])
    four = Landmarks(data, data.parts["test"], progress=False)
    asked = []

    def find(templates, patient, places):
        asked.append((sorted(templates), patient))
        return four.by_position(templates, patient, places)

    errors = four.votes(find, "")
    assert errors.shape == (landmarks.DRAWS, 4, len(data.target.classes))
    assert all(len(set(templates)) == 2 and patient not in templates for templates, patient in asked)
    assert len({tuple(templates) for templates, patient in asked if patient == 0}) > 1, "draws differ"
    # Scans are of one size, so that positions vote for the mean of the templates' corners.
    first = next(templates for templates, patient in asked if patient == 0)
    gap = np.mean([corners[a] for a in first], 0) - corners[0]
    assert errors[0, 0, 0] == pytest.approx(np.linalg.norm(gap * data.voxel), rel=1e-5)


def test_another_scan_of_the_patient_does_not_vote():
    data = data_of([labelled((4, 8, 4)), labelled((7, 6, 6))])
    items = [dataclasses.replace(item, patient="the same") for item in data.parts["test"]]
    data.arrays = dict(zip(items, data.arrays.values(), strict=True))
    one = Landmarks(data, items, progress=False)
    assert np.isnan(one.votes(one.by_position, "")).all()


def test_an_organ_that_nobody_else_has_is_not_voted_on():
    data = data_of([labelled((4, 8, 4)), labelled((7, 6, 6)) * 0])
    one = Landmarks(data, data.parts["test"], progress=False)
    assert np.isnan(one.votes(one.by_position, "")).all()


def test_maps_that_do_not_fit_are_made_again_and_the_errors_are_the_same(monkeypatch):
    data = data_of([labelled((4 + i, 8 - i, 4)) for i in range(3)])
    one = texture()
    maps = {item: maps_of(one.roll(i, 1)) for i, item in enumerate(data.arrays)}
    three, made = Landmarks(data, data.parts["test"], progress=False), []
    monkeypatch.setattr(landmarks, "_unit", lambda maps, unit=landmarks._unit: made.append(1) or unit(maps))
    expected = three.pairs(three.by_features(maps, ["encoder 0"]), "")
    assert len(made) == 3
    monkeypatch.setattr("training.worth.data._HELD", 1)
    np.testing.assert_array_equal(three.pairs(three.by_features(maps, ["encoder 0"]), ""), expected)
    assert len(made) > 6
