"""WHEN TWO STATIC VALUES MAKE THE SAME PROGRAM: what a value is made from, as a key.

`_reader` goes through a value and notes what it holds, `_code` what counts of a function's code,
`_kinds` what is noted of each kind of value, `_key` makes a key of the notes. Nothing here knows a
pipeline or compiles one.
"""
