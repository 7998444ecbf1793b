"""How `embedge-mini` is made: packages, texts, teacher, pieces, network, training, evaluation.

`python models/mini` runs the steps in order, each into files of its own; a step whose files are
there is not run again, and the long ones go on where they were interrupted.
"""
