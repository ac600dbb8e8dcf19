"""`python -m itrec_dist`: the `itrec` command."""

import sys

from itrec_dist.cli.app import main

sys.exit(main())
