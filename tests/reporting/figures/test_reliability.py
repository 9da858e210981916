# room: reporting
"""The reliability diagram shows confidence against accuracy."""

import numpy as np

from graft.reporting.figures.plots import reliability, reliability_figure


def test_a_point_is_the_mean_of_its_bin() -> None:
    confidence = np.array([0.91, 0.93, 0.55, 1.0])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    found = reliability(probabilities, np.array([0, 1, 0, 0]))
    assert np.allclose(found[0], [0.55, 0.92, 1.0])
    assert np.allclose(found[1], [1, 0.5, 1])
    assert found[2].tolist() == [1, 2, 1]


def test_calibrated_probabilities_are_a_second_line() -> None:
    probabilities, labels = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 1])
    plain = reliability_figure(probabilities, labels)
    both = reliability_figure(probabilities, labels, calibrated=probabilities)
    assert [len(figure.axes[0].lines) for figure in (plain, both)] == [2, 3]
