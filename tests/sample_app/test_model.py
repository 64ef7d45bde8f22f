"""The served probabilities equal scikit-learn's, and invalid models are refused."""

import itertools
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from predictor.model import ModelError, load, most_likely, probabilities

from tests.sample_app.conftest import SAMPLE_APP


def load_iris() -> Any:
    """Return scikit-learn's data. The import takes two seconds, so only the tests that need it pay for it."""
    from sklearn import datasets

    return datasets.load_iris()


def test_probabilities_equal_scikit_learns_to_1e_9(tmp_path: Path) -> None:
    training = runpy.run_path(str(SAMPLE_APP / "train.py"))
    pipeline, right = training["train"]()
    path = tmp_path / "iris.json"
    path.write_text(json.dumps(training["as_numbers"](pipeline, right)), encoding="utf-8")
    model = load(path)
    names = [feature.name for feature in model.features]
    # Every flower there is, and every corner of what a request may hold.
    corners = itertools.product(*((1e-6, feature.largest_seen, feature.limit) for feature in model.features))
    rows = [*load_iris().data.tolist(), *map(list, corners)]
    assert len(rows) == 150 + 3**4
    for row, expected in zip(rows, pipeline.predict_proba(rows), strict=True):
        served = probabilities(model, dict(zip(names, row, strict=True)))
        assert list(served.values()) == pytest.approx(expected.tolist(), rel=0, abs=1e-9)
        assert sum(served.values()) == pytest.approx(1.0, abs=1e-12)
    predicted = pipeline.predict(load_iris().data)
    for row, species in zip(load_iris().data.tolist(), predicted, strict=True):
        assert most_likely(probabilities(model, dict(zip(names, row, strict=True)))) == model.classes[species]


def test_names_of_features_contain_the_unit(model_file: Path) -> None:
    model = load(model_file)
    assert [feature.name for feature in model.features] == [
        "sepal_length_cm", "sepal_width_cm", "petal_length_cm", "petal_width_cm",
    ]  # fmt: skip
    assert model.classes == ("setosa", "versicolor", "virginica")
    assert 27 <= model.unseen_right <= model.unseen_flowers == 30


def test_each_example_is_classified_correctly(model_file: Path) -> None:
    model = load(model_file)
    names = [feature.name for feature in model.features]
    for species, row in model.examples.items():
        assert most_likely(probabilities(model, dict(zip(names, row, strict=True)))) == species


def test_missing_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"No such file or directory\. Run: python train\.py"):
        load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (lambda content: content.update(format=2), "reads format 1"),
        (lambda content: content.pop("mean"), "KeyError"),
        (lambda content: content["scale"].pop(), "scale: 4 finite numbers expected, 3 found"),
        (lambda content: content["coefficients"].pop(), "one row per class"),
        (lambda content: content["intercepts"].__setitem__(0, float("nan")), "intercepts: 3 finite numbers"),
        (lambda content: content["features"][0].pop("label"), "TypeError"),
    ],
)
def test_inconsistent_model_is_refused(
    model_file: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], object], part: str
) -> None:
    content = json.loads(model_file.read_text(encoding="utf-8"))
    spoil(content)
    spoilt = tmp_path / "iris.json"
    spoilt.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=part):
        load(spoilt)


def test_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "iris.json"
    path.write_bytes(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00.")
    with pytest.raises(ModelError, match="isn't a model this server knows"):
        load(path)


def test_training_without_a_path_prints_its_usage() -> None:
    called = subprocess.run([sys.executable, str(SAMPLE_APP / "train.py")], capture_output=True, text=True, check=False)
    assert called.returncode == 2
    assert "python train.py MODEL.json" in called.stderr
