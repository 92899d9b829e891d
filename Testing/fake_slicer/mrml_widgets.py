"""Stand-ins for Slicer's widgets that show what is in the scene, over the real scene."""

from __future__ import annotations

from typing import Any

import shiboken6
import slicer
from PySide6 import QtCore, QtWidgets

from .pythonqt import emit
from .show_3d_button import Show3DButton

_LIST_EVENTS = ("NodeAddedEvent", "NodeRemovedEvent", "EndCloseEvent", "EndImportEvent", "EndBatchProcessEvent")


class SceneWidget(QtWidgets.QWidget):
    """qMRMLWidget: knows the scene and passes it on to what is in it."""

    bench_signals = ("mrmlSceneChanged(vtkMRMLScene*)",)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:  # noqa: N802
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        if scene is not self._scene:
            self._scene = scene
            emit(self, "mrmlSceneChanged(vtkMRMLScene*)", scene)


class NodeSelector(QtWidgets.QWidget):
    """qMRMLNodeComboBox: one of the scene's nodes of some classes.

    Like Slicer's, it chooses a node by itself when it may not stand on "None", and lets go of a node that is removed.
    """

    bench_signals = (
        "currentNodeChanged(vtkMRMLNode*)",
        "currentNodeChanged(bool)",
        "nodeAdded(vtkMRMLNode*)",
        "nodeAddedByUser(vtkMRMLNode*)",
        "nodeAboutToBeRemoved(vtkMRMLNode*)",
        "nodeActivated(vtkMRMLNode*)",
    )
    currentNodeIDChanged = QtCore.Signal(str)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._combo = QtWidgets.QComboBox()
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._combo)
        self._scene: Any = None
        self._observed: list[tuple[Any, int]] = []
        self._current = ""
        self._attributes: list[tuple[str, str, Any]] = []
        self._options: dict[str, Any] = {
            "nodeTypes": [],
            "showHidden": False,
            "showChildNodeTypes": True,
            "hideChildNodeTypes": [],
            "baseName": "",
            "noneEnabled": False,
            "noneDisplay": "None",
            "addEnabled": True,
            "removeEnabled": True,
            "editEnabled": False,
            "renameEnabled": False,
            "selectNodeUponCreation": True,
        }
        self._combo.connect("activated(int)", self._user_chose)
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)

    def mrmlScene(self) -> Any:  # noqa: N802
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802
        self.bench_forget()
        self._scene = scene
        if scene is not None:
            for event in _LIST_EVENTS:
                tag = scene.AddObserver(getattr(slicer.vtkMRMLScene, event), self._scene_changed)
                self._observed.append((scene, tag))
        self._refresh()

    def bench_forget(self) -> None:
        """Observe nothing any more, as when a widget is destroyed."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []

    def currentNode(self) -> Any:  # noqa: N802
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: Any) -> None:  # noqa: N802
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:  # noqa: N802
        shown = node_id if node_id and any(node.GetID() == node_id for node in self._nodes()) else ""
        changed = shown != self._current
        self._current = shown
        self._fill()
        if changed:
            self._tell()

    def setCurrentNodeIndex(self, index: int) -> None:  # noqa: N802
        nodes = self._nodes()
        self.setCurrentNode(nodes[index] if 0 <= index < len(nodes) else None)

    def nodeCount(self) -> int:  # noqa: N802
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:  # noqa: N802
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:  # noqa: N802
        self._attributes.append((node_type, name, value))
        self._refresh()

    def addNode(self, node_type: str = "") -> Any:  # noqa: N802
        node_class = node_type or self._options["nodeTypes"][0]
        base_name = self._options["baseName"] or node_class.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(node_class, self._scene.GenerateUniqueName(base_name))
        if self._options["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        emit(self, "nodeAddedByUser(vtkMRMLNode*)", node)
        return node

    def removeCurrentNode(self) -> None:  # noqa: N802
        if self.currentNode() is not None:
            self._scene.RemoveNode(self.currentNode())

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        found = []
        for node_type in self._options["nodeTypes"]:
            for node in slicer.util.getNodesByClass(node_type, self._scene):
                if self._is_listed(node, node_type) and node not in found:
                    found.append(node)
        return found

    def _is_listed(self, node: Any, node_type: str) -> bool:
        if node.GetHideFromEditors() and not self._options["showHidden"]:
            return False
        if not self._options["showChildNodeTypes"] and node.GetClassName() not in self._options["nodeTypes"]:
            return False
        if node.GetClassName() in self._options["hideChildNodeTypes"]:
            return False
        asked = [(name, value) for of_type, name, value in self._attributes if of_type == node_type]
        return all(
            node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name)) for name, value in asked
        )

    def _scene_changed(self, _scene: Any, _event: str) -> None:
        if shiboken6.isValid(self) and not self._scene.IsBatchProcessing():
            self._refresh()

    def _refresh(self) -> None:
        nodes = self._nodes()
        before = self._current
        if before not in [node.GetID() for node in nodes]:
            self._current = nodes[0].GetID() if nodes and not self._options["noneEnabled"] else ""
        self._fill()
        if before != self._current:
            self._tell()

    def _fill(self) -> None:
        self._combo.clear()
        if self._options["noneEnabled"] or not self._current:
            self._combo.addItem(self._options["noneDisplay"] if self._options["noneEnabled"] else "", "")
        for node in self._nodes():
            self._combo.addItem(node.GetName(), node.GetID())
        self._combo.setCurrentIndex(self._combo.findData(self._current))

    def _tell(self) -> None:
        node = self.currentNode()
        emit(self, "currentNodeChanged(vtkMRMLNode*)", node)
        emit(self, "currentNodeChanged(bool)", node is not None)
        self.currentNodeIDChanged.emit(self._current)

    def _user_chose(self, index: int) -> None:
        self.setCurrentNodeID(self._combo.itemData(index))

    def _get_option(name: str) -> Any:  # noqa: N805
        return lambda self: self._options[name]

    def _set_option(name: str) -> Any:  # noqa: N805
        def write(self: Any, value: Any) -> None:
            self._options[name] = value
            self._refresh()

        return write

    for _name, _type in (
        ("nodeTypes", "QStringList"),
        ("showHidden", bool),
        ("showChildNodeTypes", bool),
        ("hideChildNodeTypes", "QStringList"),
        ("baseName", str),
        ("noneEnabled", bool),
        ("noneDisplay", str),
        ("addEnabled", bool),
        ("removeEnabled", bool),
        ("editEnabled", bool),
        ("renameEnabled", bool),
        ("selectNodeUponCreation", bool),
    ):
        locals()[_name] = QtCore.Property(_type, _get_option(_name), _set_option(_name))
    currentNodeID = QtCore.Property(str, lambda self: self._current, setCurrentNodeID)  # noqa: N815


class SegmentSelector(SceneWidget):
    """qMRMLSegmentSelectorWidget: a segmentation and one of its segments."""

    bench_signals = ("currentNodeChanged(vtkMRMLNode*)", "currentNodeChanged(bool)")
    currentSegmentChanged = QtCore.Signal(str)  # noqa: N815

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._nodes = NodeSelector(self)
        self._nodes.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodes.noneEnabled = True
        self._segments = QtWidgets.QComboBox(self)
        self._message = QtWidgets.QLabel(self)
        column = QtWidgets.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._nodes)
        column.addWidget(self._segments)
        column.addWidget(self._message)
        self._none, self._current = False, ""
        self._observed: list[tuple[Any, int]] = []
        self._nodes.connect("currentNodeChanged(vtkMRMLNode*)", self._node_changed)
        self._segments.connect("currentIndexChanged(int)", self._segment_changed)
        self.connect("mrmlSceneChanged(vtkMRMLScene*)", self._nodes.setMRMLScene)
        self._fill()

    def currentNode(self) -> Any:  # noqa: N802
        return self._nodes.currentNode()

    def currentNodeID(self) -> str:  # noqa: N802
        return str(self._nodes.currentNodeID)

    def setCurrentNode(self, node: Any) -> None:  # noqa: N802
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, node_id: str) -> None:  # noqa: N802
        self._nodes.setCurrentNodeID(node_id)

    def currentSegmentID(self) -> str:  # noqa: N802
        # The last one that was chosen, also when the segmentation was let go since.
        return self._current

    def setCurrentSegmentID(self, segment_id: str) -> None:  # noqa: N802
        self._segments.setCurrentIndex(self._segments.findData(segment_id))

    def segmentIDs(self) -> tuple[str, ...]:  # noqa: N802
        node = self.currentNode()
        return tuple(node.GetSegmentation().GetSegmentIDs()) if node is not None else ()

    def bench_forget(self) -> None:
        """Observe nothing any more, as when a widget is destroyed."""
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []

    def _node_changed(self, node: Any) -> None:
        self.bench_forget()
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in ("SegmentAdded", "SegmentRemoved", "SegmentModified"):
                tag = segmentation.AddObserver(getattr(slicer.vtkSegmentation, event), self._segments_changed)
                self._observed.append((segmentation, tag))
        self._fill()
        emit(self, "currentNodeChanged(vtkMRMLNode*)", node)
        emit(self, "currentNodeChanged(bool)", node is not None)

    def _segments_changed(self, _segmentation: Any, _event: str) -> None:
        if shiboken6.isValid(self):
            self._fill()

    def _fill(self) -> None:
        """Offer the segments; the chosen one stays, and in place of one that is not there the first is chosen."""
        ids = self.segmentIDs()
        self._segments.setVisible(bool(ids))
        self._message.setVisible(not ids)
        self._message.setText(
            "No segments in segmentation " if self.currentNode() is not None else "No node is selected "
        )
        self._segments.blockSignals(True)
        self._segments.clear()
        if self._none and ids:
            self._segments.addItem("None", "")
        for segment_id in ids:
            self._segments.addItem(self.currentNode().GetSegmentation().GetSegment(segment_id).GetName(), segment_id)
        self._segments.setCurrentIndex(self._segments.findData(self._current))
        self._segments.blockSignals(False)
        if ids and self._segments.currentIndex < 0:
            self._segments.setCurrentIndex(1 if self._none else 0)

    def _segment_changed(self, index: int) -> None:
        if self.currentNode() is not None:
            self._current = str(self._segments.itemData(index) or "")
            self.currentSegmentChanged.emit(self._current)

    def _set_none(self, enabled: bool) -> None:
        self._none = enabled
        self._fill()

    def _show_nodes(self, shown: bool) -> None:
        self._nodes.setVisible(shown)

    noneEnabled = QtCore.Property(bool, lambda self: self._none, _set_none)  # noqa: N815
    segmentationNodeSelectorVisible = QtCore.Property(  # noqa: N815
        bool, lambda self: not self._nodes.isHidden(), _show_nodes
    )


#: Stand-ins by the names that the ``slicer`` package and .ui files have for them.
MRML_WIDGETS: dict[str, type] = {
    "qMRMLWidget": SceneWidget,
    "qMRMLNodeComboBox": NodeSelector,
    "qMRMLSegmentSelectorWidget": SegmentSelector,
    "qMRMLSegmentationShow3DButton": Show3DButton,
}
