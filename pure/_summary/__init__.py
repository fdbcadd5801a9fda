"""WHAT A PIPELINE IS, AS FACTS: found once, then read by text, terminals, notebooks and drawings.

`_rows` are the facts, `_words` and `_page` how they read, `_html` and `_rich` where; `_summary` is
all of it together, `_found` finds it. Whoever shows a pipeline computes nothing of its own.
"""
