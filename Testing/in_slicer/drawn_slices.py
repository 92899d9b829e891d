"""A few drawn slices, the rest by the extension: window, cancel, undo; started as ``tutorial.py`` is.

Takes some minutes; needs the demo model.
"""

from medsam3_session.drawn_slices import check_effect, check_panel, check_template
from medsam3_session.play import play

play(check_panel, check_effect, check_template)
