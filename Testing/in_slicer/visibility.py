"""Segments in sight in scenes new, closed and loaded; started as ``tutorial.py`` is."""

from medsam3_session.play import play
from medsam3_session.visibility import check_after_closing, check_after_loading, check_others

play(check_after_closing, check_others, check_after_loading)
