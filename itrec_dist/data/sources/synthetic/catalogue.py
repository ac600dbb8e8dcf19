"""Invented movies: titles, years, genres, series, popularity and quality."""

from dataclasses import dataclass

import numpy as np

LEADING = ("Action", "Comedy", "Crime", "Drama", "Horror", "Romance", "Sci-Fi", "Western")
"""Every movie has exactly one of these, named first."""

OTHERS = (
    "Adventure",
    "Animation",
    "Children's",
    "Documentary",
    "Fantasy",
    "Film-Noir",
    "Musical",
    "Mystery",
    "Thriller",
    "War",
)
"""A movie has at most one of these in addition, so its leading genre is never ambiguous."""

NO_MOVIE = -1
FIRST_YEAR, LAST_YEAR = 1940, 2000


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ADJECTIVES = _words(
    "Amber Bitter Borrowed Broken Burning Copper Crooked Crystal Distant Drifting Electric "
    "Empty Fallen Forgotten Frozen Gentle Gilded Hidden Hollow Hungry Iron Ivory Last Lonely "
    "Lucky Marble Midnight Narrow Northern Painted Pale Paper Patient Quiet Restless Rusty "
    "Scarlet Second Secret Seventh Silent Silver Sleeping Southern Stolen Stubborn Sudden "
    "Tender Thirsty Twisted Unlikely Velvet Wandering Wasted Weary Wicked Wild Winter Wooden "
    "Yellow Château Señorita's Fräulein's Café"
)
_NOUNS = _words(
    "Anchor Avenue Ballad Bargain Bridge Canyon Carnival Cathedral Chapter Circus Coast Compass "
    "Corridor Courier Crossing Dancer Debt Detective Dynasty Echo Engine Feather Ferry Frontier "
    "Garden Ghost Harbor Harvest Horizon Hotel Island Journey Kingdom Ladder Lantern Letter "
    "Lighthouse Machine Mask Meadow Messenger Mirror Mountain Orchard Passenger Piano Promise "
    "Railway Reckoning River Saddle Serenade Shadow Signal Stranger Summer Suspect Telegram "
    "Tunnel Valley Verdict Visitor Waltz Witness"
)
_PLACES = _words(
    "Abilene Bruges Calais Dakota Évreux Florence Göteborg Havana Idaho Jaipur Kraków Lisbon "
    "Málaga Nîmes Orkney Paraná Québec Rhône Saturn Tromsø Utah Vienna Wyoming Zürich"
)
_NUMERALS = ("", " II", " III", " IV")

MOST_MOVIES = 1_000_000
_SHARE_IN_SERIES = 0.3
_ZIPF_EXPONENT = 0.8


@dataclass(frozen=True)
class Movies:
    """The catalogue: C movies as parallel columns, in the order of their ids."""

    ids: np.ndarray
    """(C,) ids as in `movies.dat`: ascending, with gaps."""
    titles: list[str]
    years: np.ndarray
    leading: np.ndarray
    """(C,) position in LEADING."""
    other: np.ndarray
    """(C,) position in OTHERS, or len(OTHERS) for none."""
    part_before: np.ndarray
    """(C,) index of the previous part of its series, or NO_MOVIE."""
    log_popularity: np.ndarray
    quality: np.ndarray
    """(C,) deviation of its average rating from the mean, in stars."""

    def lines(self) -> list[str]:
        """The rows of `movies.dat`."""
        columns = zip(self.ids, self.titles, self.years, self.genres(), strict=True)
        return [f"{i}::{title} ({year})::{'|'.join(named)}" for i, title, year, named in columns]

    def genres(self) -> list[list[str]]:
        """The one or two genres of each movie."""
        return [
            [LEADING[lead], *([OTHERS[other]] if other < len(OTHERS) else [])]
            for lead, other in zip(self.leading, self.other, strict=True)
        ]


def invent(num_movies: int, rng: np.random.Generator) -> Movies:
    """Draw a catalogue of `num_movies`, with leading genres of about equal size."""
    series, part = _series(num_movies, rng)
    num_series = int(series.max()) + 1
    leading = rng.permutation(np.arange(num_series) % len(LEADING))[series]
    years = rng.integers(FIRST_YEAR, LAST_YEAR - 8, num_series)[series] + 2 * part
    other = rng.integers(0, 2 * len(OTHERS), num_series)[series].clip(max=len(OTHERS))
    ranks = rng.permutation(num_series)[series] + 1
    names = _titles(num_series, rng)
    titles = [_with_numeral(names[s], int(p)) for s, p in zip(series, part, strict=True)]
    before = np.where(part > 0, np.arange(num_movies) - 1, NO_MOVIE)
    # The order of movies in the file carries no meaning: parts of a series get distant ids.
    place = rng.permutation(num_movies)
    origin = np.argsort(place)
    before = np.where(before == NO_MOVIE, NO_MOVIE, place[before])
    return Movies(
        ids=np.cumsum(rng.choice([1, 2], num_movies, p=[0.97, 0.03])),
        titles=[titles[i] for i in origin],
        years=years[origin],
        leading=leading[origin],
        other=other[origin],
        part_before=before[origin],
        log_popularity=-_ZIPF_EXPONENT * np.log(ranks)[origin],
        quality=rng.normal(0, 0.45, num_series)[series][origin],
    )


def _series(num_movies: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(C,) series of each movie (most have one part) and (C,) its part number, from 0."""
    num_parts = np.ones(num_movies, dtype=np.int64)
    longest = len(_NUMERALS)
    # Drawn per series: a share p of series with m parts on average has p*m / (p*m + 1 - p)
    # of the movies.
    mean_parts = (2 + longest) / 2
    share = _SHARE_IN_SERIES / (mean_parts * (1 - _SHARE_IN_SERIES) + _SHARE_IN_SERIES)
    has_parts = rng.random(num_movies) < share
    num_parts[has_parts] = rng.integers(2, longest + 1, int(has_parts.sum()))
    series = np.repeat(np.arange(num_movies), num_parts)[:num_movies]
    first = np.searchsorted(series, series, side="left")
    return series, np.arange(num_movies) - first


def _titles(count: int, rng: np.random.Generator) -> list[str]:
    """`count` different titles, with articles last as in "Iron Harbor, The".

    Where the words do not suffice, they are used again with a number: "Iron Harbor 2, The".
    """
    shapes = len(_PLACES) + 3
    num_names = len(_ADJECTIVES) * len(_NOUNS) * shapes
    rounds = -(-count // num_names)
    chosen = rng.choice(num_names * rounds, count, replace=False)
    titles = []
    for number in chosen.tolist():
        again, name = divmod(number, num_names)
        rest, shape = divmod(name, shapes)
        adjective, noun = (
            words[i]
            for words, i in zip((_ADJECTIVES, _NOUNS), divmod(rest, len(_NOUNS)), strict=True)
        )
        noun += f" {again + 1}" * (again > 0)
        if shape == 0:
            titles.append(f"{adjective} {noun}")
        elif shape in (1, 2):
            article = "The" if shape == 1 else ("An" if adjective[0] in "AEIOU" else "A")
            titles.append(f"{adjective} {noun}, {article}")
        else:
            titles.append(f"{adjective} {noun} of {_PLACES[shape - 3]}, The")
    return titles


def _with_numeral(title: str, part: int) -> str:
    name, comma, article = title.partition(",")
    return f"{name}{_NUMERALS[part]}{comma}{article}"
