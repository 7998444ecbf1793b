"""PyInstaller's hook: the bundled pack, and the modules that are imported by name."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

datas = collect_data_files("embedge")
hiddenimports = collect_submodules("embedge")
