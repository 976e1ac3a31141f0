"""The library works where threads cannot be started, and ctypes and fsync are missing, as in a browser's Python."""

import json

import numpy as np
from helpers.programs import BROWSER, python

import allconv as ac


def test_it_saves_and_predicts(tmp_path):
    code = BROWSER + (
        "import numpy as np, allconv as ac\n"
        "model = ac.models.article_net('allcnn', rng=np.random.default_rng(0))\n"
        "x = np.random.default_rng(1).standard_normal((2, 32, 32, 3)).astype(np.float32)\n"
        "ac.save_weights(model, sys.argv[1])\n"
        "print(ac.get_num_threads(), ac.predict(model, x).tolist())\n"
    )
    threads, scores = python(code, str(tmp_path / "w.npz")).split(" ", 1)
    model = ac.models.article_net("allcnn")
    ac.load_weights(model, tmp_path / "w.npz")
    x = np.random.default_rng(1).standard_normal((2, 32, 32, 3)).astype(np.float32)
    assert threads == "1"
    np.testing.assert_allclose(json.loads(scores), ac.predict(model, x), rtol=0, atol=1e-5)
