"""The bench: the real panel and the real Segment Editor effect in a test, over the real scene and without a window.

Ask for the fixture ``bench``, then::

    panel = bench.open_panel("MedSAM3Segment")          # the module's widget class, set up and entered
    panel.ui.conceptsEdit.plainText = "liver; spleen"   # as in Slicer: properties are attributes
    panel.ui.applyButton.click()
    bench.wait(lambda: panel.ui.applyButton.enabled)    # the event loop runs until this holds
    assert bench.dialogs.texts("error") == []           # dialogs are noted down; bench.dialogs.confirm answers them

    editor = bench.segment_editor(volume, segmentation) # Slicer's Segment Editor, as far as an effect sees it
    effect = editor.open_effect(path_of_effect_file)    # the effect's Python class, active
    editor.click("Red", (100, 120)); editor.drag("Red", (10, 10), (60, 50)); editor.press("Red", "x")
    editor.undo()

Also there: ``bench.render("Red")`` (the slice view as an array of RGB), ``bench.module_panel`` (the scrolled column
that Slicer puts a panel into), ``bench.settings``, ``bench.installs`` (what ``slicer.packaging`` was asked to install),
``bench.slot_errors`` (exceptions that Slicer would only print; the fixture fails a test that leaves one there unless
the user was told of it), and ``bench.close_panel`` (leave and clean up).

``qt``, ``ctk`` and the widgets of ``slicer`` are PySide6 with PythonQt's ways (``pythonqt``) and stand-ins for the few
widgets that are Slicer's own (``ctk_widgets``, ``mrml_widgets``, ``segment_editor``). The bench is strict: a member
that neither Qt nor a stand-in has raises AttributeError, and test_widget_members checks that the stand-ins have no
member that Slicer's widgets lack. What tests alone may use of a stand-in begins with ``bench_``.
"""

from .bench import Bench, open_bench

__all__ = ["Bench", "open_bench"]
