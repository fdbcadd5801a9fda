"""CHECKPOINTS: a run that is saved, and goes on after a kill exactly where it was.

`_checkpoints` is what a user makes, `_folder` the one file on Orbax, and `_judged` says whether
what is found there is to be trusted. Nothing here knows how batches are read.
"""
