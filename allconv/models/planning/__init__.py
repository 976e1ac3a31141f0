"""Plans: a fused copy's prediction for one small shape, prepared as a list of NumPy calls.

For one image, much of the time of a layer goes into what is the same for every image: checks, choices, cuts and views.
A plan has done that before. It is a list of calls such as ``np.matmul(a, b, out=c)``, whose arrays lie in the plan's
own memory. `builder` has that memory, `layers`, `winograd`, `columns` and `pools` what each layer adds to the calls,
`plan` runs them, and `plans` keeps the plans of a model by shape.
"""

from allconv.models.planning.plans import Plans

__all__ = ["Plans"]
