"""How long the window stands still, action by action, on the sample and on a large CT; started as ``tutorial.py`` is.

Takes some minutes.
"""

from medsam3_session.play import play
from medsam3_session.window_gaps import check_large_gaps, check_phantom_gaps

play(check_phantom_gaps, check_large_gaps)
