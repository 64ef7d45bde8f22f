"""Train the iris classifier and write it down as numbers.

Runs once, in the builder stage of the image: ``python train.py /opt/model/iris.json``. Needs scikit-learn; the server
that reads the file doesn't. The data (150 flowers, 4 lengths in centimetres, 3 species) ships with scikit-learn, so
nothing is downloaded.
"""

import json
import sys
from pathlib import Path
from typing import Any

import sklearn
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

UNSEEN_FLOWERS = 30
LEAST_RIGHT = 27


def train() -> tuple[Pipeline, int]:
    """Fit scaler and logistic regression on 120 of the 150 flowers.

    Returns the fitted pipeline and how many of the 30 flowers it hasn't seen it names right.
    """
    iris = load_iris()
    seen, unseen, seen_species, unseen_species = train_test_split(
        iris.data, iris.target, test_size=UNSEEN_FLOWERS, random_state=0, stratify=iris.target
    )
    pipeline = Pipeline([("scaler", StandardScaler()), ("classifier", LogisticRegression(max_iter=1000))])
    pipeline.fit(seen, seen_species)
    return pipeline, int((pipeline.predict(unseen) == unseen_species).sum())


def as_numbers(pipeline: Pipeline, right: int) -> dict[str, Any]:
    """Return what a server needs, as JSON types. ``coefficients``: one row per class, one column per feature."""
    iris = load_iris()
    classes = [str(name) for name in iris.target_names]
    features = [
        {
            # "sepal length (cm)" -> "sepal_length_cm": the unit stays in the name, where a client can't overlook it.
            "name": label.replace("(", "").replace(")", "").replace(" ", "_"),
            "label": label,
            "smallest_seen": float(column.min()),
            "largest_seen": float(column.max()),
        }
        for label, column in zip(iris.feature_names, iris.data.T, strict=True)
    ]
    scaler, classifier = pipeline["scaler"], pipeline["classifier"]
    return {
        "format": 1,
        "features": features,
        "classes": classes,
        "mean": scaler.mean_.tolist(),
        "scale": scaler.scale_.tolist(),
        "coefficients": classifier.coef_.tolist(),
        "intercepts": classifier.intercept_.tolist(),
        "examples": {name: iris.data[iris.target == index][0].tolist() for index, name in enumerate(classes)},
        "unseen_flowers": UNSEEN_FLOWERS,
        "unseen_right": right,
        "trained_with": f"scikit-learn {sklearn.__version__}",
    }


def main(arguments: list[str]) -> int:
    """Write the model to the path given. Exit 2 without one path, 1 if fewer than ``LEAST_RIGHT`` flowers are right."""
    if len(arguments) != 1:
        print("Usage: python train.py MODEL.json", file=sys.stderr)
        return 2
    pipeline, right = train()
    if right < LEAST_RIGHT:
        print(
            f"{right} of {UNSEEN_FLOWERS} unseen flowers are named right. Fewer than {LEAST_RIGHT} isn't shipped.",
            file=sys.stderr,
        )
        return 1
    target = Path(arguments[0])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(as_numbers(pipeline, right), indent=1) + "\n", encoding="utf-8")
    print(f"Trained with scikit-learn {sklearn.__version__}: {right} of {UNSEEN_FLOWERS} unseen flowers named right.")
    print(f"Wrote {target}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
