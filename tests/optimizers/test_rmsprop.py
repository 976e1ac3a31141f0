"""RMSprop where rounding makes a variance negative."""

import numpy as np

from allconv.optimizers import RMSprop
from allconv.parameter import Parameter


def test_a_variance_that_rounds_below_zero_is_zero():
    # Of a constant gradient v and the square of the mean agree in the end but for rounding, which goes either way.
    p = Parameter(np.zeros(200))
    optimizer = RMSprop([p], 1e-12, decay=0.5, centered=True)
    below = 0
    for _ in range(300):
        p.add_grad(np.linspace(0.1, 1, 200))
        optimizer.step()
        state = optimizer.state()
        below += np.count_nonzero(state["v/0"] < state["mean/0"] ** 2)
    assert below > 0
    assert np.isfinite(p.value).all()
