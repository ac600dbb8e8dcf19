"""`python -m itrec_dist`: the `itrec` command."""

import sys

from itrec_dist.cli import main

sys.exit(main())
