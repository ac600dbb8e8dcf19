"""The generated data set: MovieLens-1M's file format, invented content, planted structure.

Owns: what is planted and how it is written. Three files are made, `users.dat`, `movies.dat` and
`ratings.dat`, and a README which says that they are generated. Nothing in them stems from
MovieLens or from any person.

Planted, in the order in which a model finds it:

* popularity: movies follow Zipf's law;
* series: a part is watched after the part before it, often at once;
* runs: a user stays with one leading genre for a few movies, and a low rating ends the run. The
  next leading genre is decided by the *ordered pair* of the two latest ones. Given the latest
  one alone, every other is about equally likely, so sums of co-occurrences miss it;
* taste: demographics and the person shift genres and eras, and both drift over a user's life;
* sessions: pages of movies rated at once share a timestamp, and only the row order tells them
  apart. Pages stand in the file out of time order: sort stably by timestamp.
"""

from itrec_dist.data.sources.synthetic.dataset import Generated, SyntheticConfig, generate

__all__ = ["Generated", "SyntheticConfig", "generate"]
