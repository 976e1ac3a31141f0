"""Gradient checks: is a hand-derived backward pass the derivative of its forward pass, and where not?

`check` compares a layer or a whole network with central differences in float64, `check_loss` a loss, and `compare` the
gradients under a backward rule with the true ones. `grade` judges two functions of one's own beside a layer of the
library, and says in words what is wrong. `guard_caches` finds code that changes what a backward pass needs.
"""

from allconv.gradcheck.caches import guard_caches
from allconv.gradcheck.checking import check
from allconv.gradcheck.comparing import Comparison, compare
from allconv.gradcheck.grade import Grade, GradeRow, grade
from allconv.gradcheck.losses import check_loss
from allconv.gradcheck.report import CheckRow, Report

__all__ = ["CheckRow", "Comparison", "Grade", "GradeRow", "Report", "check", "check_loss", "compare", "grade"]
__all__ += ["guard_caches"]
