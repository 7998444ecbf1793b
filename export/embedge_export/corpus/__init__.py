"""The built-in texts and images that integers are fitted to and graphs are gated on."""
