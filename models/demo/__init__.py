"""The demo: a pack at work on texts that a reader can check by eye.

    screen      what goes to the terminal, whatever it is
    texts       small labeled sets, written by hand
    questions   questions about embedge, answered from its own documentation
    adapters    each task's vectors on each kind of work
    drawing     the sentences in two dimensions, as a picture
    grid        the same as characters

Takes a pack, by default the bundled one; `make demo` runs it. Needs the dependency group `demo`.
"""
