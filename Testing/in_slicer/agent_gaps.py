"""How long the window stands still in each action of the agent's panel, on the sample and on a large CT.

Started as ``tutorial.py`` is; takes some minutes.
"""

from medsam3_session.agent_gaps import check_agent_gaps
from medsam3_session.play import play

play(check_agent_gaps)
