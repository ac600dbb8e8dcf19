"""Generates a data set: MovieLens-1M's file format, invented content, planted structure.

Writes three files, `users.dat`, `movies.dat` and `ratings.dat` (or the same as tables in Parquet),
and a README which says that they are generated. Nothing in them comes from MovieLens or from any
person.

The planted structure, in the order in which a model learns it:

* popularity: movies follow Zipf's law;
* series: a part is watched after the previous part, often directly;
* runs: a user stays with one leading genre for a few movies, and a low rating ends the run. The
  next leading genre is determined by the *ordered pair* of the two latest ones. Given only the
  latest one, all others are about equally likely, so sums of co-occurrences miss it;
* taste: demographics and personal preference shift genres and eras, and both drift over time;
* sessions: pages of movies rated together share a timestamp, and only the row order distinguishes
  them. Pages are not in time order in the file: sort stably by timestamp.
"""

from itrec_dist.data.sources.synthetic.dataset import Generated, SyntheticConfig, generate

__all__ = ["Generated", "SyntheticConfig", "generate"]
