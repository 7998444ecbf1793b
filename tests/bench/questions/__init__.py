"""33 short queries on about 200 files of many kinds: which mode of a search finds the right one.

    queries.tsv  a query and its one right file, written before any of them was run
    files        web pages, notebooks, logs, licenses, notes, code, in eight languages
    corpus       makes the folder: these, the demo's collection, pages of this repository, lists
    run          asks all in each mode and prints the table (`make measure-questions`)

All texts were written for it, but for the licenses and the names of characters. Queries that fail
stay, and neither they nor the texts are changed after a run.
"""
