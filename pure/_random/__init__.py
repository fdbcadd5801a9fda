"""WHAT A DRAW DEPENDS ON: the seed's key, the node's name, the epoch and the record; nothing else.

`_origin` says which records of which epochs a batch holds, `_keys` folds that into keys, and
`_fast_key` is a generator whose draws cost a CPU less.
"""
