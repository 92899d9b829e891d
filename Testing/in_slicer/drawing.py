"""Pixels of previews, partial slices and a dragged threshold in the slice views; started as ``tutorial.py`` is."""

from medsam3_session.drawing import check_dragged_threshold, check_partials, check_previews
from medsam3_session.play import play

play(check_previews, check_partials, check_dragged_threshold)
