"""The panel of MedSAM3 Agent: what Qt shows of a request, its rounds, and the language model that is asked.

``panel`` puts the parts together. ``language`` is who is asked and what would leave the computer, ``cards`` what is
shown of rounds. Work is done by MedSAM3AgentSceneLib and MedSAM3AgentLib.
"""
