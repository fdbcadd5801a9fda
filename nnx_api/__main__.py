"""`python -m dagrax.nnx_api`: the command line, as `dagrax` is.

What it can do stands in `_command`.
"""

import sys

from ._command import main

if __name__ == "__main__":
    sys.exit(main())
