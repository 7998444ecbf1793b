"""The demo: a pack at work on texts that a reader can check by eye.

    screen      what goes to the terminal, whatever it is
    collection  74 short texts on everyday topics, and questions.tsv, questions about them
    questions   the questions, answered by a search
    measured    each adapter's figures, from models/README.md
    texts       64 sentences for the map
    drawing     the sentences in two dimensions, as a picture
    grid        the same as characters

Takes a pack, by default the bundled one; `make demo` runs it. Needs the dependency group `demo`.
"""
