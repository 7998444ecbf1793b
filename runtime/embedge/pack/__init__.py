"""The pack on disk: what manifest.json promises, and whether the files keep it."""
