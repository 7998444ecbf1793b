"""Light and dark: the system's way where Qt finds one, else a palette of our own.

Windows, macOS, GNOME and KDE tell Qt which they are, and Qt takes another one from the program. A
plain X or Wayland session does neither.
"""

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

SCHEMES = {
    "system": Qt.ColorScheme.Unknown,
    "light": Qt.ColorScheme.Light,
    "dark": Qt.ColorScheme.Dark,
}
# Of the dark palette; what is not named follows from these.
WINDOW, FIELD, TEXT = QColor("#26282b"), QColor("#1b1d1f"), QColor("#e6e6e6")
FAINT, ACCENT = QColor("#8a8d91"), QColor("#3b82c4")


def use_theme(application: QApplication, theme: str) -> None:
    """Shows a theme: "system", "light" or "dark"."""
    hints = application.styleHints()
    hints.setColorScheme(SCHEMES[theme])
    if theme == "dark" and hints.colorScheme() != Qt.ColorScheme.Dark:
        application.setPalette(_dark())
    else:
        application.setPalette(QPalette())


def _dark() -> QPalette:
    palette = QPalette(WINDOW)
    roles = QPalette.ColorRole
    for role in (roles.WindowText, roles.Text, roles.ButtonText, roles.ToolTipText):
        palette.setColor(role, TEXT)
    palette.setColor(roles.Base, FIELD)
    palette.setColor(roles.ToolTipBase, FIELD)
    palette.setColor(roles.PlaceholderText, FAINT)
    palette.setColor(roles.Highlight, ACCENT)
    palette.setColor(roles.HighlightedText, QColor("white"))
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, role, FAINT)
    return palette
