import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from itrec_dist.cli import app
from itrec_dist.data.sources.synthetic import (
    SyntheticConfig,
    catalogue,
    choosing,
    dataset,
    files,
    generate,
    viewing,
)
from itrec_dist.errors import ConfigError, OutputError

SMALL = SyntheticConfig(users=400, movies=240, ratings_per_user=50, seed=3)


@dataclass
class Files:
    folder: Path
    ratings: np.ndarray  # (E, 4) user, movie, stars, second, in file order
    users: list[list[str]]
    movies: list[list[str]]

    @property
    def histories(self) -> list[np.ndarray]:
        """Rows per user, in true order: stably sorted by second."""
        rows = self.ratings[np.argsort(self.ratings[:, 3], kind="stable")]
        return [rows[rows[:, 0] == user] for user in np.unique(rows[:, 0])]


def read(folder: Path) -> Files:
    def rows(name: str) -> list[list[str]]:
        text = (folder / name).read_bytes().decode("iso-8859-1")
        assert text.endswith("\n")
        return [line.split("::") for line in text.splitlines()]

    ratings = np.array([[int(value) for value in row] for row in rows("ratings.dat")])
    return Files(folder, ratings, rows("users.dat"), rows("movies.dat"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("synthetic") / "small"
    generate(SMALL, folder)
    return read(folder)


def test_files_are_consistent_and_in_the_format(made: Files) -> None:
    assert [int(row[0]) for row in made.users] == list(range(1, 401))
    assert all(len(row) == 5 and row[1] in "FM" and len(row[4]) == 5 for row in made.users)
    assert {int(row[2]) for row in made.users} <= {1, 18, 25, 35, 45, 50, 56}
    assert {int(row[3]) for row in made.users} == set(range(21))
    ids = {int(row[0]) for row in made.movies}
    assert len(ids) == 240
    assert max(ids) > 240  # gaps, as in the real file
    assert len({row[1] for row in made.movies}) == 240
    assert any(ord(letter) > 127 for row in made.movies for letter in row[1])
    assert set(made.ratings[:, 1].tolist()) <= ids
    assert set(made.ratings[:, 0].tolist()) == set(range(1, 401))
    assert (np.diff(made.ratings[:, 0]) >= 0).all()  # users stand together
    assert set(np.unique(made.ratings[:, 2])) <= {1, 2, 3, 4, 5}
    pairs = made.ratings[:, :2]
    assert len(np.unique(pairs, axis=0)) == len(pairs)  # nobody rates a movie twice


def test_lengths_have_the_mean_the_minimum_and_a_long_tail(made: Files) -> None:
    lengths = np.bincount(made.ratings[:, 0])[1:]
    assert lengths.min() >= 20
    assert lengths.max() <= 120
    assert lengths.mean() == pytest.approx(50, rel=0.12)
    assert np.percentile(lengths, 95) > 2 * np.median(lengths)


def test_popularity_is_skewed(made: Files) -> None:
    counts = np.sort(np.bincount(made.ratings[:, 1]))[::-1][:240]
    assert counts[:24].sum() > 0.25 * counts.sum()  # a tenth of the movies


def test_rows_of_a_user_are_not_in_time_order_but_rows_of_a_page_are(made: Files) -> None:
    users, seconds = made.ratings[:, 0], made.ratings[:, 3]
    same_user = users[1:] == users[:-1]
    assert ((np.diff(seconds) < 0) & same_user).mean() > 0.05
    assert ((np.diff(seconds) == 0) & same_user).mean() > 0.3  # many ties


def order_of_series(made: Files) -> tuple[int, int, int, int]:
    """Later parts after, before, at once after and, in a tie, at once before the part before."""
    part = {int(row[0]): split_numeral(row[1]) for row in made.movies}
    in_order, against, at_once, at_once_in_tie_reversed = 0, 0, 0, 0
    for history in made.histories:
        series = [part[movie] for movie in history[:, 1].tolist()]
        for i, (name, number) in enumerate(series):
            if number > 0 and (name, number - 1) in series:
                before = series.index((name, number - 1))
                in_order += before < i
                against += before > i
                tied = history[i, 3] == history[i - 1, 3]
                at_once += before == i - 1 and tied
                at_once_in_tie_reversed += before == i + 1 and history[before, 3] == history[i, 3]
    return in_order, against, at_once, at_once_in_tie_reversed


def test_series_are_watched_in_order_also_inside_ties(made: Files) -> None:
    in_order, against, at_once, at_once_in_tie_reversed = order_of_series(made)
    assert in_order > 20 * against
    assert at_once > 10 * at_once_in_tie_reversed + 50


def split_numeral(title: str) -> tuple[str, int]:
    name, _, _ = title.rpartition(" (")
    for number, numeral in ((3, " IV"), (2, " III"), (1, " II")):
        if numeral in name:
            return name.replace(numeral, ""), number
    return name, 0


def leading_runs(made: Files) -> list[list[str]]:
    genre = {int(row[0]): row[2].split("|")[0] for row in made.movies}
    assert set(genre.values()) == set(catalogue.LEADING)
    runs = []
    for history in made.histories:
        genres = [genre[movie] for movie in history[:, 1].tolist()]
        runs.append([g for i, g in enumerate(genres) if i == 0 or g != genres[i - 1]])
    return runs


def test_the_ordered_pair_of_latest_genres_tells_the_next_and_one_genre_does_not(
    made: Files,
) -> None:
    runs = leading_runs(made)
    learn, judge = runs[::2], runs[1::2]

    def accuracy(order: int, ordered: bool = True) -> float:
        def key(run: list[str], i: int) -> tuple[str, ...]:
            latest = run[i - order : i]
            return tuple(latest if ordered else sorted(latest))

        seen: dict[tuple[str, ...], Counter[str]] = {}
        for run in learn:
            for i in range(2, len(run)):
                seen.setdefault(key(run, i), Counter())[run[i]] += 1
        hits = [
            seen[key(run, i)].most_common(1)[0][0] == run[i]
            for run in judge
            for i in range(2, len(run))
        ]
        return float(np.mean(hits))

    pair, bag, single = accuracy(2), accuracy(2, ordered=False), accuracy(1)
    assert pair > 0.75
    assert bag < 0.65  # the same two genres without their order
    assert single < 0.35


def test_no_single_genre_tells_anything_in_the_rule() -> None:
    table = viewing.rule(8)
    for second in range(8):
        assert sorted(np.delete(table[:, second], second)) == sorted(set(range(8)) - {second})


def test_a_low_rating_ends_a_run(made: Files) -> None:
    genre = {int(row[0]): row[2].split("|")[0] for row in made.movies}
    stays: dict[bool, list[bool]] = {True: [], False: []}
    for history in made.histories:
        genres = [genre[movie] for movie in history[:, 1].tolist()]
        for i, stars in enumerate(history[:-1, 2]):
            stays[stars <= 2].append(genres[i] == genres[i + 1])
    assert np.mean(stays[False]) > 0.55
    assert np.mean(stays[True]) < 0.1


@pytest.mark.slow
def test_demographics_shift_tastes_and_taste_drifts(tmp_path: Path) -> None:
    generate(SyntheticConfig(users=3000, movies=200, ratings_per_user=40), tmp_path / "many")
    files = read(tmp_path / "many")
    other = {int(row[0]): row[2].split("|")[-1] for row in files.movies}
    year = {int(row[0]): int(row[1][-5:-1]) for row in files.movies}
    shares: dict[str, Counter[str]] = {"F": Counter(), "M": Counter()}
    early_late = []
    for history in files.histories:
        movies = history[:, 1].tolist()
        shares[files.users[history[0, 0] - 1][1]].update(other[movie] for movie in movies)
        years, half = [year[movie] for movie in movies], len(movies) // 2
        early_late.append(
            (
                np.mean(years[::2]) - np.mean(years[1::2]),
                np.mean(years[:half]) - np.mean(years[half:]),
            )
        )
    ratios = [
        (shares["F"][g] / shares["F"].total()) / (shares["M"][g] / shares["M"].total())
        for g in shares["M"]
        if g in catalogue.OTHERS
    ]
    assert max(ratios) > 1.3
    assert min(ratios) < 0.77
    interleaved, halves = np.std(early_late, axis=0)
    assert halves > 1.5 * interleaved  # halves of a life differ more than alternating movies do


def test_same_settings_same_bytes_other_seed_other_bytes(made: Files, tmp_path: Path) -> None:
    generate(SMALL, tmp_path / "again")
    generate(SyntheticConfig(400, 240, 50, seed=4), tmp_path / "other")
    for name in ("users.dat", "movies.dat", "ratings.dat", "README"):
        content = (made.folder / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == content
        assert (tmp_path / "other" / name).read_bytes() != content


def test_blocks_of_users_join_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "_USERS_PER_BLOCK", 7)
    settings = SyntheticConfig(users=30, movies=80, ratings_per_user=20)
    assert generate(settings, tmp_path / "blocks").ratings == 600
    files = read(tmp_path / "blocks")
    assert np.bincount(files.ratings[:, 0]).tolist() == [0] + [20] * 30


@pytest.mark.parametrize(
    ("users", "movies", "mean"), [(1, 80, 20), (2, 20_000, 20), (2, 20_001, 20), (3, 80, 20)]
)
def test_smallest_and_largest_sizes_work(
    tmp_path: Path, users: int, movies: int, mean: int
) -> None:
    settings = SyntheticConfig(users=users, movies=movies, ratings_per_user=mean)
    assert generate(settings, tmp_path / "made").ratings == users * mean


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"users": 0}, "users must be at least 1, not 0"),
        ({"seed": -1}, "seed must be 0 or more, not -1"),
        ({"movies": 10}, "movies must be between 80 and 1000000, not 10"),
        ({"movies": 1_000_001}, "movies must be between 80 and 1000000, not 1000001"),
        ({"ratings_per_user": 19.0}, "between 20 and a quarter of the movies (125), not 19"),
        ({"ratings_per_user": 126.0}, "between 20 and a quarter of the movies (125), not 126"),
        ({"ratings_per_user": float("nan")}, "not nan"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        SyntheticConfig(**changes)  # type: ignore[arg-type]
    assert named in str(refused.value)


def test_a_taken_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds no ratings\.dat"):
        generate(SMALL, tmp_path / "mine", overwrite=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_parquet_holds_what_the_text_files_do(made: Files, tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL, format="parquet")
    generate(settings, tmp_path / "tables")
    ratings, users, items = (
        pq.read_table(tmp_path / "tables" / name)
        for name in (files.ParquetFiles.ratings_file, files.USERS, files.ITEMS)
    )
    columns = [ratings[name].to_numpy() for name in ("user", "item", "rating", "timestamp")]
    np.testing.assert_array_equal(np.column_stack(columns), made.ratings)
    described = [[str(value) for value in row.values()] for row in users.to_pylist()]
    assert described == made.users
    assert [
        [str(row["item"]), f"{row['title']} ({row['year']})", "|".join(row["genres"])]
        for row in items.to_pylist()
    ] == made.movies


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Files:
    """The same size, generated as large catalogues are, in several blocks."""
    monkeypatch.setattr(choosing, "MOST_WEIGHED", 0)
    monkeypatch.setattr(dataset, "_FLAGS_PER_BLOCK", 90 * SMALL.movies)
    generate(SMALL, tmp_path / "large")
    return read(tmp_path / "large")


def test_a_large_catalogue_has_the_same_structure(large: Files) -> None:
    pairs = large.ratings[:, :2]
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert set(large.ratings[:, 0].tolist()) == set(range(1, 401))
    test_popularity_is_skewed(large)
    in_order, against, at_once, at_once_in_tie_reversed = order_of_series(large)
    assert in_order > 8 * against
    assert at_once > 10 * at_once_in_tie_reversed + 50
    test_the_ordered_pair_of_latest_genres_tells_the_next_and_one_genre_does_not(large)
    test_a_low_rating_ends_a_run(large)


def test_titles_differ_also_where_words_do_not_suffice() -> None:
    movies = catalogue.invent(120_000, np.random.default_rng(0))
    assert len(set(movies.titles)) == 120_000


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--users", "5", "--movies", "80", "--ratings-per-user", "20"]
    command = ["data", "make", "--out", str(tmp_path / "made"), *size]
    assert app.main([*command, "--seed", "1"]) == 0
    assert "100 generated ratings" in capsys.readouterr().out
    readme = (tmp_path / "made" / "README").read_text()
    assert "NOT MOVIELENS" in readme
    assert "--users 5 --movies 80 --ratings-per-user 20 --seed 1" in readme
    assert app.main(command) == 2
    assert "already exists" in capsys.readouterr().err
    assert app.main([*command, "--overwrite", "--users", "0"]) == 2
    assert "users must be at least 1" in capsys.readouterr().err
    assert "--seed 1" in (tmp_path / "made" / "README").read_text()
    assert app.main([*command, "--overwrite", "--seed", "2"]) == 0
    assert "--seed 2" in (tmp_path / "made" / "README").read_text()
    assert app.main([*command, "--overwrite", "--format", "parquet"]) == 0
    assert "--source table" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "made").iterdir()} == {
        "README", "users.parquet", "items.parquet", "ratings.parquet"
    }  # fmt: skip
