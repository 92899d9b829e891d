"""Slice views that are drawn without a window: real slice logic, displayable managers and renderer.

Red, Green and Yellow, as in Slicer's default layout. What the stand-ins for the widgets add is only what holds them.
"""

from __future__ import annotations

from typing import Any

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .mrml_widgets import SceneWidget
from .slice_controller import SliceController

#: Names, orientations and sizes of the views.
VIEWS = (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal"))
VIEW_SIZE = (320, 320)

_DISPLAYABLE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)


class SliceView(QtCore.QObject):
    """qMRMLSliceView: the renderer of a slice view, and what is drawn into it."""

    def __init__(self, slice_node: Any, logic: Any, application_logic: Any) -> None:
        super().__init__()
        self._node, self._logic = slice_node, logic
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(True)
        self._window.SetSize(*VIEW_SIZE)
        self._picture = vtk.vtkImageMapper()
        self._picture.SetColorWindow(255)
        self._picture.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._picture)
        background = vtk.vtkRenderer()
        background.AddViewProp(actor)
        self._renderer = vtk.vtkRenderer()
        self._renderer.SetLayer(1)
        self._window.SetNumberOfLayers(2)
        self._window.AddRenderer(background)
        self._window.AddRenderer(self._renderer)
        self._background = background
        # The kind that Qt's views have.
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.SetInteractorStyle(None)
        self._cursor: Any = QtGui.QCursor(QtCore.Qt.ArrowCursor)
        self._managers: Any = None
        self._is_due = True
        self._observed = [(logic, logic.AddObserver(vtk.vtkCommand.ModifiedEvent, self._ask))]
        self._application_logic = application_logic

    def bench_release(self) -> None:
        """Draw nothing any more."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        if self._managers is not None:
            self._managers.SetMRMLDisplayableNode(None)
            self._managers = None
        self._window.Finalize()

    def bench_show(self) -> None:
        """Draw if anybody asked for it since the last time; otherwise the picture stays, as on a screen."""
        if self._is_due:
            self.forceRender()

    def _ask(self, *_: Any) -> None:
        self._is_due = True

    def mrmlSliceNode(self) -> Any:  # noqa: N802
        return self._node

    def renderWindow(self) -> Any:  # noqa: N802
        return self._window

    def interactor(self) -> Any:
        return self._interactor

    def bench_renderer(self) -> Any:
        return self._renderer

    def scheduleRender(self) -> None:  # noqa: N802
        """Draw soon: before a test looks at the view."""
        self._is_due = True

    def forceRender(self) -> None:  # noqa: N802
        """Draw now."""
        self._is_due = False
        if self._managers is None:
            self._managers = self._displayable_managers()
        self._logic.GetBlend().Update() if self._logic.GetBlend() is not None else None
        image = self._logic.GetImageDataConnection()
        self._background.GetViewProps().GetItemAsObject(0).SetVisibility(image is not None)
        if image is not None:
            self._picture.SetInputConnection(image)
        self._window.Render()

    def setDefaultViewCursor(self, cursor: Any) -> None:  # noqa: N802
        self._cursor = cursor

    def setViewCursor(self, cursor: Any) -> None:  # noqa: N802
        self._cursor = cursor

    def unsetViewCursor(self) -> None:  # noqa: N802
        self._cursor = QtGui.QCursor(QtCore.Qt.ArrowCursor)

    def bench_cursor(self) -> Any:
        return self._cursor

    def _displayable_managers(self) -> Any:
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(self._application_logic)
        for name in _DISPLAYABLE_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.Initialize(factory, self._renderer)
        group.SetMRMLDisplayableNode(self._node)
        # How a displayable manager asks for a view to be drawn; Slicer's views draw for nothing else.
        self._observed.append((group, group.AddObserver(vtk.vtkCommand.UpdateEvent, self._ask)))
        return group


class SliceWidget(SceneWidget):
    """qMRMLSliceWidget."""

    def __init__(self, name: str, orientation: str, application_logic: Any, scene: Any) -> None:
        super().__init__()
        self.setMRMLScene(scene)
        self._name, self._orientation, self._application_logic = name, orientation, application_logic
        self._logic = slicer.vtkMRMLSliceLogic()
        self._view: SliceView | None = None
        self.bench_controller = SliceController()

    def bench_prepare(self) -> None:
        """Have the nodes of the view in the scene, once; they stay when it is closed."""
        if self._view is not None:
            return
        scene = self.mrmlScene()
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(self._application_logic)
        self._logic.SetMRMLScene(scene)
        node = self._logic.AddSliceNode(self._name)
        if not node.HasSliceOrientationPreset("Axial"):
            slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        node.SetOrientation(self._orientation)
        node.SetDimensions(*VIEW_SIZE, 1)
        self._application_logic.GetSliceLogics().AddItem(self._logic)
        self._view = SliceView(node, self._logic, self._application_logic)

    def bench_release(self) -> None:
        """Take the nodes of the view out of the scene."""
        if self._view is None:
            return
        self._view.bench_release()
        self._view = None
        self._application_logic.GetSliceLogics().RemoveItem(self._logic)
        nodes = [self._logic.GetSliceNode(), self._logic.GetSliceCompositeNode(), self._logic.GetSliceDisplayNode()]
        self._logic.SetMRMLScene(None)
        for node in filter(None, nodes):
            self.mrmlScene().RemoveNode(node)
        self._logic = slicer.vtkMRMLSliceLogic()

    def sliceLogic(self) -> Any:  # noqa: N802
        self.bench_prepare()
        return self._logic

    def mrmlSliceNode(self) -> Any:  # noqa: N802
        return self.sliceLogic().GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:  # noqa: N802
        return self.sliceLogic().GetSliceCompositeNode()

    def sliceView(self) -> Any:  # noqa: N802
        self.bench_prepare()
        return self._view

    def fitSliceToBackground(self) -> None:  # noqa: N802
        self.sliceLogic().FitSliceToBackground()


class LayoutManager(QtCore.QObject):
    """qSlicerLayoutManager with Slicer's three slice views, in a window.

    As in Slicer, the names come in no order that means anything, and views stay when a layout does not show them.
    """

    layoutChanged = QtCore.Signal(int)  # noqa: N815

    def __init__(self, application_logic: Any, scene: Any) -> None:
        super().__init__()
        if application_logic.GetSliceLogics() is None:
            application_logic.SetSliceLogics(vtk.vtkCollection())
        self._application_logic, self._scene = application_logic, scene
        self._crosshair: Any = None
        self._widgets = {name: SliceWidget(name, orientation, application_logic, scene) for name, orientation in VIEWS}
        self._tags = [
            scene.AddObserver(event, self._update_segmentation_controls)
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent)
        ]
        self._viewport = QtWidgets.QWidget()
        self._viewport.setAttribute(QtCore.Qt.WA_ShowWithoutActivating)
        row = QtWidgets.QHBoxLayout(self._viewport)
        for widget in self._widgets.values():
            row.addWidget(widget)
        self._viewport.show()

    def bench_show(self, *names: str) -> None:
        """Choose a layout that has these slice views."""
        for name, widget in self._widgets.items():
            widget.setVisible(name in names)
        self.layoutChanged.emit(0)

    def bench_prepare(self) -> None:
        """Have all views in the scene, and the crosshair, which knows where the mouse is."""
        self._crosshair = self._scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
        for widget in self._widgets.values():
            widget.bench_prepare()

    def bench_release(self) -> None:
        """Let go of what is in the scene."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        for widget in self._widgets.values():
            widget.bench_controller.release()
            widget.bench_release()
        self._scene.RemoveNode(self._crosshair)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _update_segmentation_controls(self, scene: Any, event: str, node: Any = None) -> None:
        if event == "EndBatchProcessEvent" or (node is not None and node.IsA("vtkMRMLSegmentationNode")):
            for widget in self._widgets.values():
                widget.bench_controller.adopt_segmentation(scene)

    def bench_remove(self, name: str) -> None:
        """Destroy a view, as Slicer does when its node is removed from the scene."""
        widget = self._widgets.pop(name)
        widget.bench_release()
        shiboken6.delete(widget)

    def sliceViewNames(self) -> tuple[str, ...]:  # noqa: N802
        return tuple(reversed(self._widgets))

    def sliceWidget(self, name: str) -> Any:  # noqa: N802
        return self._widgets.get(name)

    def mrmlSliceLogics(self) -> Any:  # noqa: N802
        return self._application_logic.GetSliceLogics()

    def resetSliceViews(self) -> None:  # noqa: N802
        for widget in self._widgets.values():
            widget.fitSliceToBackground()


def picture_of(view: SliceView) -> Any:
    """What a slice view shows, as an array ``[row, column, RGB]``, top row first."""
    from vtk.util.numpy_support import vtk_to_numpy

    view.bench_show()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(view.renderWindow())
    grabber.ReadFrontBufferOff()
    # Or it would draw the view anew, whether anybody asked for that or not.
    grabber.ShouldRerenderOff()
    grabber.Update()
    image = grabber.GetOutput()
    columns, rows, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)[::-1].copy()
