"""PyInstaller's hook: the bundled pack, and the modules that are imported by name."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("embedge")
# An adapter that a program uses is found by its import. Were all of them collected, so would be
# every framework that is installed beside; and with this hook, PyInstaller itself.
_LEFT_OUT = ("embedge.integrations.", "embedge._pyinstaller")
hiddenimports = collect_submodules(
    "embedge",
    filter=lambda name: not name.startswith(_LEFT_OUT),
    on_error="ignore",  # the server's modules, where its extra is not installed
)
