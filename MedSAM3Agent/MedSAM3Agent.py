"""The MedSAM3 Agent module of 3D Slicer: registration, panel, self-test. The agent itself is MedSAM3AgentLib."""

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class MedSAM3Agent(ScriptedLoadableModule):
    """Registers the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedSAM3 Agent")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["MedSAM3Segment"]
        # Nobody shall find it in the menu before there is an agent.
        self.parent.hidden = True
        self.parent.contributors = ["MedSAM3 for 3D Slicer contributors"]
        self.parent.helpText = _(
            "Describe a finding in a sentence, and an agent proposes a segmentation, looks at it and refines it."
            " See the <a href='https://github.com/SlicerMedSAM3/SlicerMedSAM3'>documentation</a>."
        )
        self.parent.acknowledgementText = _("For research, not for clinical use.")


class MedSAM3AgentWidget(ScriptedLoadableModuleWidget):
    """The panel."""

    def setup(self):
        import qt

        ScriptedLoadableModuleWidget.setup(self)
        label = qt.QLabel(_("The agent is not part of this version; segment by phrase in the MedSAM3 Segment module."))
        label.wordWrap = True
        self.layout.addWidget(label)
        self.layout.addStretch(1)


class MedSAM3AgentTest(ScriptedLoadableModuleTest):
    """Self-test."""

    def runTest(self):
        import MedSAM3AgentLib

        assert MedSAM3AgentLib.__doc__
        assert hasattr(slicer.modules, "medsam3agent")
