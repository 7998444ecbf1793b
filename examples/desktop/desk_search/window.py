"""The window: shows the state, and hands on what a person does. Decides nothing by itself.

States come from other threads, by a signal that Qt hands to this one.
"""

import signal
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import (
    QAction,
    QActionGroup,
    QCloseEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDropEvent,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
)
from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListView,
    QMainWindow,
    QMenu,
    QProgressBar,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from desk_search.colors import use_theme
from desk_search.hits_view import Hits, Row
from desk_search.program import Program
from desk_search.searcher import KINDS
from desk_search.settings import THEMES
from desk_search.state import Phase, State, status_line
from desk_search.watcher import Watcher
from embedge.search import Hit

TITLE = "Desk Search"
BLINKING = 10_000  # milliseconds that the cursor blinks after the last key
WELCOME = "Drop a folder here, or choose Add Folder… in the menu File"


class States(QObject):
    """Brings states from other threads to the window's."""

    changed = Signal(object)


class Window(QMainWindow):
    """The one window.

    Args:
        application: Qt's.
        program: what it shows.
        states: says when the program's state is another.
        verbose: print what the status line says.
    """

    def __init__(
        self, application: QApplication, program: Program, states: States, *, verbose: bool = False
    ) -> None:
        super().__init__()
        self._application, self._program, self._verbose = application, program, verbose
        self._theme = "system"
        self._answered = ""  # the query that the hits belong to
        self._opening = False  # whether the first hit is opened once it is there
        self._said = ("", "")  # the status line, and the query that it is about
        self.setWindowTitle(TITLE)
        self.resize(760, 560)
        self.setAcceptDrops(True)
        self._query = _Query()
        self._query.setPlaceholderText("Search by meaning or words")
        self._query.setClearButtonEnabled(True)
        self._kind = QComboBox()
        self._kind.addItems(list(KINDS))
        self._hits = Hits(self)
        self._list = QListView()
        self._list.setModel(self._hits)
        self._list.setItemDelegate(Row(self._list))
        self._list.setUniformItemSizes(True)
        self._list.setAccessibleName("Hits")
        self._welcome = QLabel(WELCOME)
        self._welcome.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._middle = QStackedWidget()
        self._middle.addWidget(self._welcome)
        self._middle.addWidget(self._list)
        self._lay_out()
        self._fill_menus()
        self._query.textChanged.connect(self._ask)
        self._kind.currentTextChanged.connect(self._ask)
        self._query.returnPressed.connect(self._open_soon)
        self._query.down.connect(self._go_to_list)
        self._list.activated.connect(self._open_hit)
        states.changed.connect(self.show_state)
        self.show_state(program.state)

    def show_state(self, state: State) -> None:
        """Draws a state."""
        if state.folders:
            self._middle.setCurrentWidget(self._list)
        else:
            self._middle.setCurrentWidget(self._welcome)
        self._show_hits(state)
        indexing = state.phase is Phase.INDEXING
        self._bar.setVisible(indexing)
        self._stop.setVisible(indexing)
        if indexing and state.progress is not None:
            self._bar.setValue(round(state.progress.fraction * self._bar.maximum()))
        self._say(status_line(state), state.answered)
        self._status.setToolTip(
            "\n".join(f"{path}: {reason}" for path, reason in state.skipped[:20])
        )
        self._model.setText(state.model)
        self._kind.setVisible(state.takes_images)
        self._show_folders(state.folders)
        if state.theme != self._theme:
            self._theme = state.theme
            use_theme(self._application, state.theme)
        self._themes[state.theme].setChecked(True)

    def _show_hits(self, state: State) -> None:
        """The hits; of the same query the chosen one stays chosen, though others came in."""
        chosen = self._chosen() if state.answered == self._answered else None
        self._answered = state.answered
        if self._hits.show(state.hits) and state.hits:
            row = state.hits.index(chosen) if chosen in state.hits else 0
            self._list.setCurrentIndex(self._hits.index(row))
        if self._opening and state.answered == state.query:
            self._opening = False
            self._open_hit()

    def _say(self, line: str, answered: str) -> None:
        if self._verbose and (line, answered) != self._said:
            print(f"{line}: {answered}" if answered else line, flush=True)
        self._said = line, answered
        self._status.setText(line)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self._query)
        top.addWidget(self._kind)
        whole = QVBoxLayout()
        whole.addLayout(top)
        whole.addWidget(self._middle)
        center = QWidget()
        center.setLayout(whole)
        self.setCentralWidget(center)
        self._status = QLabel()
        self._bar = QProgressBar()
        self._bar.setMaximum(1000)
        self._bar.setMaximumWidth(160)
        self._bar.setTextVisible(False)
        self._stop = QPushButton("Stop")
        self._stop.clicked.connect(self._program.stop)
        self._model = QLabel()
        below = self.statusBar()
        below.addWidget(self._status, 1)
        for widget in (self._bar, self._stop, self._model):
            below.addPermanentWidget(widget)

    def _fill_menus(self) -> None:
        file = self.menuBar().addMenu("&File")
        self._add(file, "&Add Folder…", self._choose_folder, QKeySequence.StandardKey.Open)
        self._folders = file.addMenu("&Remove Folder")
        self._listed: Sequence[Path] = ()
        self._add(file, "&Update Now", self._program.resume, QKeySequence.StandardKey.Refresh)
        self._add(file, "&Stop Indexing", self._program.stop, "Ctrl+.")
        file.addSeparator()
        self._add(file, "Choose &Model…", self._choose_pack)
        self._add(file, "Use &Bundled Model", lambda: self._program.use_pack(None))
        file.addSeparator()
        self._add(file, "&Quit", self.close, QKeySequence.StandardKey.Quit)
        view = self.menuBar().addMenu("&View")
        group = QActionGroup(self)
        self._themes = {name: QAction(f"&{name.capitalize()}", group) for name in THEMES}
        for name, action in self._themes.items():
            action.setCheckable(True)
            action.triggered.connect(lambda _, name=name: self._program.set_theme(name))
            view.addAction(action)
        find = QAction(self)
        find.setShortcut(QKeySequence.StandardKey.Find)
        find.triggered.connect(self._query.setFocus)
        self.addAction(find)

    def _add(self, menu: QMenu, text: str, do: object, key: object = None) -> None:
        action = menu.addAction(text)
        action.triggered.connect(lambda: do())  # type: ignore[operator]
        if key is not None:
            action.setShortcut(key)

    def _show_folders(self, folders: Sequence[Path]) -> None:
        if folders == self._listed:
            return
        self._listed = folders
        self._folders.clear()
        for folder in folders:
            action = self._folders.addAction(str(folder))
            action.triggered.connect(lambda _, gone=folder: self._program.remove_folder(gone))
        self._folders.setEnabled(bool(folders))

    # What a person does.

    def _ask(self) -> None:
        self._opening = False
        self._program.ask(self._query.text(), self._kind.currentText())

    def _go_to_list(self) -> None:
        if self._hits.hits:
            self._list.setFocus()

    def _chosen(self) -> Hit | None:
        index = self._list.currentIndex()
        return self._hits.hits[index.row()] if index.isValid() else None

    def _open_soon(self) -> None:
        """Opens the chosen hit of what was typed, which may be on its way; not one of before."""
        self._opening = self._program.state.query != self._answered
        if not self._opening:
            self._open_hit()

    def _open_hit(self) -> None:
        """Opens the chosen hit with the system's own program for it."""
        hit = self._chosen()
        if hit is not None and hit.path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(hit.path)))

    def _choose_folder(self) -> None:
        if name := QFileDialog.getExistingDirectory(self, "Search in"):
            self._program.add_folder(Path(name))

    def _choose_pack(self) -> None:
        if name := QFileDialog.getExistingDirectory(self, "Folder of a model pack"):
            self._program.use_pack(Path(name))

    # Qt's own names.

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802, D102
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802, D102
        for url in event.mimeData().urls():
            self._program.drop(Path(url.toLocalFile()))

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802, D102
        self._program.close()
        super().closeEvent(event)


class _Query(QLineEdit):
    """The field for the query: the arrow down leads to the hits, Escape empties it.

    Its cursor blinks while one types and ten seconds longer: to draw it twice a second would be all
    that an idle window does.
    """

    down = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._hints = QGuiApplication.styleHints()
        self._blinking = self._hints.cursorFlashTime()  # as the system has it
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(BLINKING)
        self._rest.timeout.connect(lambda: self._hints.setCursorFlashTime(0))
        self._rest.start()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        if not self._rest.isActive():
            self._hints.setCursorFlashTime(self._blinking)
        self._rest.start()
        if event.key() == Qt.Key.Key_Down:
            self.down.emit()
        elif event.key() == Qt.Key.Key_Escape:
            self.clear()
        else:
            super().keyPressEvent(event)


def run(
    data: Path,
    *,
    folders: Sequence[Path] = (),
    pack: Path | None = None,
    theme: str | None = None,
    verbose: bool = False,
) -> int:
    """Opens the window; gives the exit code once it is closed."""
    application = QApplication([TITLE])
    application.setApplicationName(TITLE)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Qt's loop would not let Python see a Ctrl-C
    states = States()
    program = Program(data, states.changed.emit, Watcher)
    if pack is not None:
        program.use_pack(pack)
    if theme is not None:
        program.set_theme(theme)
    for folder in folders:
        program.add_folder(folder)

    def look(activity: Qt.ApplicationState) -> None:
        if activity == Qt.ApplicationState.ApplicationActive:
            program.come_to_front()

    application.applicationStateChanged.connect(look)
    window = Window(application, program, states, verbose=verbose)
    window.show()
    return int(application.exec())
