"""What becomes of the agent's work when scene, module or volume change under it; started as ``tutorial.py`` is."""

from medsam3_session.agent_life import check_agent_life, check_bundle
from medsam3_session.play import play

play(check_agent_life, check_bundle)
