"""What is read of prepared examples."""

import numpy as np
import pandas as pd
import pytest

from pipeline import prepared


def test_targets_sum_to_one_where_the_source_s_were_rounded() -> None:
    rows = pd.DataFrame({"id": ["a", "b"], "label": ["x", "y"], "probabilities": ['{"x": 0.6667, "y": 0.3326}', None]})
    found = prepared.soft(rows, ["x", "y"], "place")
    assert found.dtype == np.float32
    assert found[0].tolist() == pytest.approx([0.6667 / 0.9993, 0.3326 / 0.9993], abs=1e-7)
    assert found[1].tolist() == [0, 1]
