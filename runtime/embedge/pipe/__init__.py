"""JSON lines in, JSON lines out: embeddings for a program in another language that starts this one.

    line ──messages.read──▶ Embed or Cancel ──Service──▶ Embedder.encode ──▶ answers, as lines

`messages` knows the protocol and no model, `service` runs requests side by side. The command
`embedge pipe` gives it the standard streams; docs/desktop.md describes the protocol.
"""
