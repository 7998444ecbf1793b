"""The list of hits: its model, how a row is drawn, and small pictures of images."""

from collections.abc import Sequence
from html import escape
from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QObject,
    QRect,
    QRunnable,
    QSize,
    Qt,
    QThreadPool,
    Signal,
)
from PySide6.QtGui import QImage, QImageReader, QPainter, QPalette, QTextDocument
from PySide6.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from desk_search.state import snippet
from embedge.search import Hit

ROW = 76  # pixels high
PICTURE = 60  # pixels, of the longer side
MARGIN = 8

Index = Any  # QModelIndex, or QPersistentModelIndex


class Hits(QAbstractListModel):
    """The hits, the best first."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.hits: tuple[Hit, ...] = ()

    def show(self, hits: Sequence[Hit]) -> bool:
        """Takes other hits in place of those before; whether they are others."""
        if hits == self.hits:
            return False
        self.beginResetModel()
        self.hits = tuple(hits)
        self.endResetModel()
        return True

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """How many there are."""
        return 0 if parent.isValid() else len(self.hits)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """The hit, and as text what a screen reader says of it."""
        hit = self.hits[index.row()]
        if role == Qt.ItemDataRole.UserRole:
            return hit
        if role == Qt.ItemDataRole.ToolTipRole:
            return str(hit.path)
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{'' if hit.path is None else hit.path.name}: {hit.text[:200]}"
        return None


class Row(QStyledItemDelegate):
    """Draws a hit: file and place, and what of its text answers the query, or a small picture."""

    def __init__(self, view: QListView) -> None:
        super().__init__(view)
        self._pictures = Pictures(view)
        self._pictures.ready.connect(view.viewport().update)

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # noqa: N802
        """All rows are of one height, so that only those that are seen are laid out."""
        return QSize(0, ROW)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Draws one row."""
        hit: Hit = index.data(Qt.ItemDataRole.UserRole)
        widget: QWidget = option.widget
        style = widget.style()
        style.drawPrimitive(QStyle.PrimitiveElement.PE_PanelItemViewItem, option, painter, widget)
        area = option.rect.adjusted(MARGIN, MARGIN // 2, -MARGIN, -MARGIN // 2)
        if hit.kind == "image":
            image = self._pictures.of(str(hit.path))
            if image is not None:
                size = image.size()
                painter.drawImage(area.x(), area.y() + (area.height() - size.height()) // 2, image)
            area = area.adjusted(PICTURE + MARGIN, 0, 0, 0)
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        role = QPalette.ColorRole.HighlightedText if selected else QPalette.ColorRole.Text
        self._write(painter, area, hit, option.palette.color(role).name())

    def _write(self, painter: QPainter, area: QRect, hit: Hit, color: str) -> None:
        name = "" if hit.path is None else hit.path.name
        folder = "" if hit.path is None else str(hit.path.parent)
        place = f":{hit.line}" if hit.kind == "text" else ""
        pieces = snippet(hit.text, hit.words)
        text = "".join(f"<b>{escape(p)}</b>" if found else escape(p) for p, found in pieces)
        document = QTextDocument()
        document.setDocumentMargin(0)
        document.setDefaultStyleSheet(f"* {{ color: {color}; }}")
        document.setTextWidth(area.width())
        document.setHtml(
            f"<span><b>{escape(name)}</b>{place} &nbsp; <small>{escape(folder)}</small>"
            f"<br>{text}</span>"
        )
        painter.save()
        painter.translate(area.topLeft())
        document.drawContents(painter, QRect(0, 0, area.width(), area.height()).toRectF())
        painter.restore()


class Pictures(QObject):
    """Small pictures of image files, made in threads of their own and kept while they are shown."""

    ready = Signal()
    _made = Signal(str, QImage)
    MOST = 200  # that are kept

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._images: dict[str, QImage | None] = {}  # None: on its way, or not an image
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        self._made.connect(self._keep)

    def of(self, path: str) -> QImage | None:
        """The picture of a file; None until it is made, then `ready` says so."""
        if path not in self._images:
            while len(self._images) >= self.MOST:
                del self._images[next(iter(self._images))]
            self._images[path] = None
            self._pool.start(_Reading(path, self._made))
        return self._images[path]

    def _keep(self, path: str, image: QImage) -> None:
        self._images[path] = None if image.isNull() else image
        self.ready.emit()


class _Reading(QRunnable):
    def __init__(self, path: str, made: Any) -> None:
        super().__init__()
        self._path, self._made = path, made

    def run(self) -> None:
        reader = QImageReader(self._path)
        reader.setAutoTransform(True)  # a photograph that the camera was turned for
        size = reader.size()
        if size.isValid():
            box = QSize(PICTURE, PICTURE)
            reader.setScaledSize(size.scaled(box, Qt.AspectRatioMode.KeepAspectRatio))
        self._made.emit(self._path, reader.read())
