"""The example's window, by real key presses."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from desktop.driven import Driven
from support.tiny import IMAGE, write_pack

SOURCE = """
import sys
from PySide6.QtCore import QMimeData, QUrl, Qt
from PySide6.QtGui import QDrag
from PySide6.QtWidgets import QApplication, QLabel
class Source(QLabel):
    def mousePressEvent(self, event):
        drag, data = QDrag(self), QMimeData()
        data.setUrls([QUrl.fromLocalFile(sys.argv[1])])
        drag.setMimeData(data)
        drag.exec(Qt.DropAction.CopyAction)
application = QApplication([])
label = Source("a folder")
label.setWindowTitle("Source")
label.setGeometry(900, 100, 200, 200)
label.show()
application.exec()
"""


def read(place: Path) -> str:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if place.exists() and (text := place.read_text()):
            return text
        time.sleep(0.05)
    raise AssertionError(f"no {place}")


def test_what_is_typed_is_found_and_opened(
    display: str, tmp_path: Path, notes: Path, opened: Path
) -> None:
    with Driven(display, tmp_path / "data", notes, path=opened) as window:
        window.wait_for(r"^4 passages in 4 files")
        window.type("renew my passport")
        window.wait_for(r"^4 hits in \d+ ms, of 4 passages")
        time.sleep(0.5)  # the last answer, should there be another
        window.press("Return")
        assert unquote(read(opened / "names")).endswith("notes/passport.txt\n")
        window.press("Escape")
        window.wait_for(r"^4 passages")
        (opened / "names").unlink()
        window.type("bicycle theft")
        window.wait_for("hits in")
        time.sleep(0.5)
        window.press("Down", "Return")
        assert unquote(read(opened / "names")).endswith("notes/bike.txt\n")
        (opened / "names").unlink()
        window.press("shift+Tab", "Escape")  # back to the field
        window.type("when are beans sown")
        window.press("Return")  # at once, with other hits still in the list
        assert unquote(read(opened / "names")).endswith("garden/beans.txt\n")


def test_files_that_come_and_go_are_noticed(display: str, tmp_path: Path, notes: Path) -> None:
    with Driven(display, tmp_path / "data", notes) as window:
        window.wait_for(r"^4 passages in 4 files")
        (notes / "garden" / "peas.txt").write_text("Peas climb; give them a net.")
        window.wait_for(r"^5 passages in 5 files")
        (notes / "bike.txt").unlink()
        window.wait_for(r"^4 passages in 4 files")


def test_indexing_is_stopped_and_goes_on(display: str, tmp_path: Path, notes: Path) -> None:
    many(notes, 400)
    with Driven(display, tmp_path / "data", notes) as window:
        window.wait_for(r"^Indexing")
        window.press("ctrl+period")
        window.wait_for(r"^Stopped")
        window.press("F5")
        window.wait_for(r"^Indexing")


def test_colors_follow_the_menu_and_are_kept(display: str, tmp_path: Path) -> None:
    with Driven(display, tmp_path / "data") as window:
        light = brightness(window.picture(tmp_path / "light.png"))
        window.press("alt+v", "d")
        wait_until(lambda: brightness(window.picture(tmp_path / "dark.png")) < 100)
        assert light > 180
        window.press("ctrl+q")
        assert window.process.wait(30) == 0
    with Driven(display, tmp_path / "data") as window:
        time.sleep(1)
        assert brightness(window.picture(tmp_path / "again.png")) < 100


def test_idle_it_uses_no_cpu(display: str, tmp_path: Path, notes: Path) -> None:
    with Driven(display, tmp_path / "data", notes) as window:
        window.wait_for(r"^4 passages in 4 files")
        window.type("passport")
        window.wait_for("hits in")
        time.sleep(13)  # the cursor blinks for ten
        before = window.cpu_seconds()
        time.sleep(10)
        used = window.cpu_seconds() - before
        print(f"idle: {used * 1e3:.0f} ms of CPU time in 10 s; {window.resident():.0f} MiB")
        assert used <= 0.05


def test_closed_in_the_middle_of_its_work_it_ends_soon(
    display: str, tmp_path: Path, notes: Path
) -> None:
    many(notes, 400)
    with Driven(display, tmp_path / "data", notes) as window:
        window.wait_for(r"^Indexing")
        begin = time.monotonic()
        window.press("ctrl+q")
        assert window.process.wait(30) == 0
        print(f"closed while indexing: {time.monotonic() - begin:.1f} s")
        assert not [line for line in window.lines if "Traceback" in line]
    with Driven(display, tmp_path / "data") as window:  # its settings, and what was indexed
        window.wait_for(r"^(Indexing|\d+ passages)")


def test_a_folder_is_dropped(display: str, tmp_path: Path, notes: Path) -> None:
    with Driven(display, tmp_path / "data") as window:
        drop(window, notes)
        window.wait_for(r"^4 passages in 4 files")


def test_a_pack_is_dropped_and_finds_images(display: str, tmp_path: Path, notes: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(notes / "red.png")
    pack = write_pack(tmp_path / "pack", image=IMAGE)
    with Driven(display, tmp_path / "data", notes) as window:
        window.wait_for(r"^4 passages in 4 files")
        drop(window, pack)
        window.wait_for(r"^5 passages in 5 files")
        window.type("a")
        window.wait_for("hits in")
        wait_until(lambda: has_red(window.picture(tmp_path / "hits.png")))  # the small picture
        drop(window, notes / "bike.txt")
        window.wait_for("bike.txt is a file")


def drop(window: Driven, what: Path) -> None:
    """Drags a file or folder from another program's window onto the window."""
    source = subprocess.Popen([sys.executable, "-c", SOURCE, str(what)], env=window._environment)
    try:
        window.tool("search", "--sync", "--onlyvisible", "--name", "^Source$")
        window.tool("mousemove", "1000", "200", "mousedown", "1")
        for step in range(1, 12):
            window.tool("mousemove", str(1000 - 55 * step), "220")
            time.sleep(0.05)
        window.tool("mouseup", "1")
    finally:
        time.sleep(1)
        source.kill()
        source.wait()
    window.tool("windowfocus", "--sync", window.window)


def many(folder: Path, count: int) -> None:
    for number in range(count):
        text = "\n\n".join(f"Part {part} of note {number}. " + "words " * 150 for part in range(5))
        (folder / f"{number}.txt").write_text(text)


def brightness(place: Path) -> float:
    """The mean of a picture, 0 to 255."""
    import numpy as np
    from PIL import Image

    with Image.open(place) as image:
        return float(np.asarray(image.convert("L")).mean())


def has_red(place: Path) -> bool:
    """Whether a part of a picture is of plain red."""
    import numpy as np
    from PIL import Image

    with Image.open(place) as image:
        return bool((np.asarray(image.convert("RGB")) == (255, 0, 0)).all(axis=2).sum() > 1000)


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
