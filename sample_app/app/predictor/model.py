"""The trained model, as numbers, and the arithmetic that turns four lengths into probabilities.

The file is JSON and not a pickle: loading a pickle runs whatever code it holds, loading JSON only reads numbers. The
arithmetic is that of scikit-learn's ``Pipeline(StandardScaler, LogisticRegression).predict_proba``; the tests compare
the two on every flower of the data set, to 1e-9.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ModelError(ValueError):
    """The model file is missing, isn't JSON, or its numbers don't fit together."""


@dataclass(frozen=True)
class Feature:
    """One input: its name in a request, what a person reads, and the range in the training data, in centimetres."""

    name: str
    label: str
    smallest_seen: float
    largest_seen: float

    @property
    def limit(self) -> float:
        """The largest value accepted: ten times the largest one seen. Beyond that somebody mixed up the units."""
        return 10 * self.largest_seen


@dataclass(frozen=True)
class Model:
    """Scaler (mean, scale: one number per feature) and logistic regression (coefficients: classes x features)."""

    features: tuple[Feature, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...]
    intercepts: tuple[float, ...]
    examples: Mapping[str, tuple[float, ...]]
    unseen_flowers: int
    unseen_right: int
    trained_with: str


def load(path: Path) -> Model:
    """Read a model file written by ``train.py``. Raises `ModelError` with what is wrong and how to mend it."""
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ModelError(f"Can't read the model {path}: {error.strerror}. Run: python train.py {path}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} isn't a model this server knows: {error!r}. Run: python train.py {path}") from error


def probabilities(model: Model, values: Mapping[str, float]) -> dict[str, float]:
    """Return the probability of each class, summing to 1. ``values`` holds one number per feature name."""
    scaled = [
        (values[feature.name] - mean) / scale
        for feature, mean, scale in zip(model.features, model.mean, model.scale, strict=True)
    ]
    scores = [
        intercept + math.fsum(weight * value for weight, value in zip(row, scaled, strict=True))
        for row, intercept in zip(model.coefficients, model.intercepts, strict=True)
    ]
    # Only differences between scores count. Taking off the highest keeps exp() from overflowing.
    highest = max(scores)
    weights = [math.exp(score - highest) for score in scores]
    total = math.fsum(weights)
    return {name: weight / total for name, weight in zip(model.classes, weights, strict=True)}


def most_likely(by_class: Mapping[str, float]) -> str:
    """Return the class with the highest probability; of two equal ones, the first."""
    return max(by_class, key=by_class.__getitem__)


def _numbers(values: Any, length: int, what: str) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != length or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{what}: {length} finite numbers expected, {len(numbers)} found")
    return numbers


def _from_json(content: Any) -> Model:
    if content["format"] != 1:
        raise ValueError(f"format {content['format']}, and this server reads format 1")
    features = tuple(Feature(**feature) for feature in content["features"])
    classes = tuple(str(name) for name in content["classes"])
    if len(content["coefficients"]) != len(classes):
        raise ValueError("coefficients: one row per class expected")
    return Model(
        features=features,
        classes=classes,
        mean=_numbers(content["mean"], len(features), "mean"),
        scale=_numbers(content["scale"], len(features), "scale"),
        coefficients=tuple(_numbers(row, len(features), "coefficients") for row in content["coefficients"]),
        intercepts=_numbers(content["intercepts"], len(classes), "intercepts"),
        examples={name: _numbers(content["examples"][name], len(features), "examples") for name in classes},
        unseen_flowers=int(content["unseen_flowers"]),
        unseen_right=int(content["unseen_right"]),
        trained_with=str(content["trained_with"]),
    )
