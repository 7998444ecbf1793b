"""A small desktop program that watches folders and searches in them as one types.

state     what the window shows, and how events change it
settings  what is kept from one start to the next
indexer   a thread that keeps the index up to date, beside a person's own work
searcher  a thread that answers the last question
watcher   says when a file in a folder changes
program   joins these; knows no toolkit
window    Qt: shows the state, and hands on what a person does
"""
