"""A COMPILED CALL IN MICROSECONDS, of any nnx.Module or tuple of modules: knows no pipeline.

`_parts` takes a module apart into what it is and what it holds, puts it together inside a trace,
and writes back what changed. `_inside` tells what anything holds. `_watch` notices a change of
structure by one look; `_programs` are the compiled functions; `_foreign` refuses a program that
would keep as a constant what a user may change.
"""
