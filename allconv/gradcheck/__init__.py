"""Gradient checks: is a hand-derived backward pass the derivative of its forward pass, and where not?

`check` compares a layer or a whole network with central differences in float64, `check_loss` a loss, and `compare` the
gradients under a backward rule with the true ones. `guard_caches` finds code that changes what a backward pass needs.
"""

from allconv.gradcheck.caches import guard_caches
from allconv.gradcheck.checking import check, check_loss
from allconv.gradcheck.comparing import Comparison, compare
from allconv.gradcheck.report import CheckRow, Report

Row = CheckRow  # the older name, which programs may still use

__all__ = ["CheckRow", "Comparison", "Report", "check", "check_loss", "compare", "guard_caches"]
