"""Deployment: a folder with a trained network that predicts where NumPy is all there is.

- `saving`: `save` writes the folder
- `structure`: a model as a list of steps
- `predictor`: the one file of code in the folder; `load` reads a folder here too
"""

from allconv.deploy.predictor import load
from allconv.deploy.saving import save

__all__ = ["load", "save"]
