"""Any layer may be the whole model."""

import numpy as np

import allconv as ac


def test_a_skip_is_trained_and_profiled():
    model = ac.Skip(ac.Conv2D(3, 3, 3, rng=np.random.default_rng(0)))
    head = ac.Sequential(model, ac.GlobalAveragePool2D())
    loader = ac.data.Loader(ac.data.shapes(20, seed=0), 10)

    def loss(scores, labels):
        return float(scores.mean()), np.ones_like(scores)

    before = model.body.weight.value.copy()
    list(ac.train(model, loss, ac.SGD(head.parameters(), 0.1), loader, epochs=1))
    assert not np.array_equal(model.body.weight.value, before)
    assert ac.profile(model, np.ones((2, 6, 6, 3), np.float32), runs=1).rows[0].path == "body"
