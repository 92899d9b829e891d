"""The module's self-test passes on the bench, and the module is loaded again and closed without a trace."""

from __future__ import annotations

import sys

from support.agent_panel import begin, open_agent_panel, phantom
from support.slicer_modules import load_module


def test_the_self_test_passes(bench):
    load_module("MedSAM3Agent").MedSAM3AgentTest().runTest()
    assert bench.slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_panel_that_is_closed_in_mid_run_is_not_called_back(bench, monkeypatch):
    widget, logic = open_agent_panel(bench, monkeypatch)
    volume = phantom()
    begin(widget)
    told = logic.asked[0][3]
    bench.close_panel(widget)
    assert logic.is_closed
    logic.add_round(volume, bench.slicer.mrmlScene)
    logic.end()
    logic.fail()
    told["onProgress"](None)
    assert bench.dialogs.said == []


def test_the_module_can_be_loaded_again_and_used(bench):
    from support.agent_scene import ANSWERS, add_abdomen
    from support.scripted_segmenter import ScriptedSegmenter

    before = {name: module for name, module in sys.modules.items() if name.startswith("MedSAM3Agent")}
    try:
        widget = bench.open_panel("MedSAM3Agent")
        add_abdomen()
        for _press in range(2):
            widget.onReload()
            widget = bench.slicer.modules.MedSAM3AgentWidget
            bench.enter(widget)
        assert sys.modules["MedSAM3AgentPanelLib.panel"] is not before.get("MedSAM3AgentPanelLib.panel")
        widget.logic.segmenter = ScriptedSegmenter(ANSWERS)
        widget.ui.requestEdit.plainText = "liver"
        widget.ui.askButton.click()
        bench.wait(lambda: not widget.panel.is_busy)
        bench.spin(0.1)
        assert len(widget.panel.rounds.cards) == 1
        bench.close_panel(widget)
    finally:
        for name in [name for name in sys.modules if name.startswith("MedSAM3Agent")]:
            del sys.modules[name]
        sys.modules.update(before)
