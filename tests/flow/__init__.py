"""Every source x order x remainder x driver against plain NumPy.

`table` has the sources and the orders with their twins, `pairs` tells how combinations are chosen.
"""
