"""WHICH RECORD COMES WHEN: orders of records, computed for the positions asked for.

`_order` says what an order is, and has the two that visit every record once. The others draw with
replacement, balance, mix, repeat, or read in stretches. `_permutation` shuffles without a table.
Nothing here reads a record.
"""
