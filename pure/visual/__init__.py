"""Pictures of a pipeline, from its summary and from arrays that it is given: nothing is computed.

    visual.show({"source": batch, "flip": flipped}, path="records.png")

Libraries are imported when they are used; one that is absent is told by name.
"""

# isort: off
from ._show import show as show
