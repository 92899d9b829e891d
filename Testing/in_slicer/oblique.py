"""One slice of an oblique view; started as ``tutorial.py`` is."""

from medsam3_session.oblique_slice import check_oblique_slice
from medsam3_session.play import play

play(check_oblique_slice)
