"""Types of arrays that many modules pass on; what their axes are is said where they are used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: True where something is.
BoolMask = NDArray[np.bool_]

#: A probability for each pixel, 0 to 1, or another quantity.
FloatMap = NDArray[np.float32]
