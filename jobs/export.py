"""`itrec export` as a cluster job, with the options of the command.

ray job submit --working-dir . -- python jobs/export.py --help
"""

import sys

from itrec_dist.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
