-- Movies of MovieLens 1M and 10M.
-- Grain: one row per line of movies.dat, `item::title (year)::genre|genre`.
-- Parameters: $path, the file; $encoding, 'latin-1' (1M as published) or 'utf-8'.
-- The title is kept unchanged; the year is the last four digits in brackets.
with

lines as (
    select
        item_source_id,
        title,
        genre_names
    from
        read_csv(
            $path,
            hive_partitioning = false,
            delim = '::',
            header = false,
            auto_detect = false,
            quote = '',
            escape = '',
            encoding = $encoding,
            columns = {
                'item_source_id': 'varchar',
                'title': 'varchar',
                'genre_names': 'varchar'
            },
            store_rejects = true,
            rejects_limit = 100
        )
),

items as (
    select
        item_source_id,
        title,
        try_cast(regexp_extract(title, '.*\((\d{4})\)', 1) as integer) as release_year,
        list_filter(
            string_split(coalesce(genre_names, ''), '|'),
            lambda genre: genre not in ('', '(no genres listed)')
        ) as genres
    from lines
)

select
    item_source_id,
    title,
    release_year,
    genres
from items
