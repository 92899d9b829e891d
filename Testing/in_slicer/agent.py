"""The README's tutorial of the agent in Slicer, and what is logged meanwhile.

``run.py`` starts it; by hand, in a clone of the repository::

    Slicer --additional-module-paths MedSAM3Segment MedSAM3Agent --python-script Testing/in_slicer/agent.py
"""

from medsam3_session.agent import check_agent
from medsam3_session.play import play

play(check_agent)
