"""The largest slope that an activation may have for negative inputs."""

import numpy as np

# A larger slope would be infinite in float16, and its product with 0 is NaN.
LARGEST_SLOPE = float(np.finfo(np.float16).max)
