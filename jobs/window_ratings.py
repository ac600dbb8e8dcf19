"""`itrec window --task ratings` as a cluster job, with the options of the command.

ray job submit --working-dir . -- python jobs/window_ratings.py --help
"""

import sys

from itrec_dist.cli.app import main

if __name__ == "__main__":
    sys.exit(main(["window", "--task", "ratings", *sys.argv[1:]]))
