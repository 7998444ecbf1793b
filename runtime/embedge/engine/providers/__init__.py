"""Devices that graphs run on, one file each; see `provider` for what a file says of its device."""
