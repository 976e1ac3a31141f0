"""Estimators with the interface of scikit-learn, trained by this library; the extra ``sklearn`` installs scikit-learn.

- `classifier`, `regressor`: the two estimators
- `estimator`: what they share: data in, epochs of training, scores out
- `settings`: the parameters, checked; `inputs`: rows and images; `nets`: the networks that are made where none is given
- `stopping`: examples that are held out, and the best epoch by their loss
- `workers`: one thread in each worker of joblib
"""

try:
    from allconv.sklearn.classifier import ConvNetClassifier
    from allconv.sklearn.regressor import ConvNetRegressor
except ImportError as error:
    raise ImportError(f"allconv.sklearn needs the extra 'sklearn', pip install 'allconv[sklearn]': {error}") from error

__all__ = ["ConvNetClassifier", "ConvNetRegressor"]
