"""WHEN TWO STATIC VALUES MAKE THE SAME PROGRAM, and the call that is compiled once for both.

`_reader` goes through a value and notes what it holds, `_code` what counts of a function's code,
`_kinds` what is noted of each kind of value, `_installed` what comes from libraries; `_key` makes a
key of the notes. `_parts` takes a pytree apart by it, `_call` finds the program. No pipeline, no
stream is known here.
"""
