"""Trained networks from a checkout."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from allconv.checkpoint.weights import load_weights
from allconv.layers.sequential import Sequential
from allconv.models.article import article_net
from allconv.models.fast import fast_net
from allconv.validation import check_choice

_FOLDER = Path(__file__).parents[2] / "docs" / "weights"


class _Trained(NamedTuple):
    """A file of weights, and the function that makes the network for them."""

    file: str
    network: Callable[[], Sequential]


_TRAINED = {
    "allcnn_h": _Trained("allcnn_h.npz", lambda: article_net("allcnn", dilated=True)),
    "fast_net": _Trained("fast_net.npz", lambda: fast_net(np.zeros((2, 2, 3, 24), np.float32))),
}


def pretrained(name: str) -> Sequential:
    """Return a trained network, whose weights lie in the folder ``docs/weights`` of a checkout.

    ==============  ===================================================  ============================================
    `name`          the network                                          the images that it takes
    ==============  ===================================================  ============================================
    ``"allcnn_h"``  `article_net`, the dilated All-CNN of case h         each pixel standardized over many images
    ``"fast_net"``  `fast_net`, of the fast recipe for an accuracy       each channel standardized over the training
                    of 94 %                                              set
    ==============  ===================================================  ============================================

    Both take images of CIFAR-10, (N, 32, 32, 3), and have been trained on them. The files hold float16, and the network
    computes in float32. Nothing is downloaded. The tables beside the files state the accuracies.

    Parameters
    ----------
    name : {"allcnn_h", "fast_net"}
        The network.

    Returns
    -------
    Sequential
        The network with its weights.

    Raises
    ------
    TypeError, ValueError
        `name` is no such name, or the file is damaged.
    FileNotFoundError
        The weights are missing: the library was installed without a checkout.

    Examples
    --------
    >>> model = pretrained("allcnn_h")  # doctest: +SKIP
    >>> normalize = ac.data.Standardize.fit(images, per="pixel")  # doctest: +SKIP
    >>> ac.predict(model, normalize(images))  # doctest: +SKIP
    >>> fast = pretrained("fast_net")  # doctest: +SKIP
    >>> normalize = ac.data.Standardize([125.31, 122.95, 113.87], [62.99, 62.09, 66.70])  # doctest: +SKIP
    >>> ac.predict(fast, normalize(images), views=ac.data.shift_views())  # doctest: +SKIP
    """
    trained = _TRAINED[check_choice("name", name, _TRAINED)]
    path = _FOLDER / trained.file
    if not path.is_file():
        raise FileNotFoundError(
            f"name must be a network whose weights are there, got {name!r}: {path} is missing. The weights are in a "
            f"checkout of the repository of allconv, as docs/weights/{trained.file}, and are not downloaded. "
            "ac.load_weights reads them from any place"
        )
    model = trained.network()
    load_weights(model, path)
    return model
