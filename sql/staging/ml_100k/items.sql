-- Movies of MovieLens 100K.
-- Grain: one row per line of u.item: item, title, dates, address, nineteen genre flags.
-- Parameters: $path, the file; $encoding, 'latin-1' (as published) or 'utf-8'.
-- The flag `unknown` is read as no genre. The title is kept unchanged; the year is the last four
-- digits in brackets.
with

lines as (
    select
        item_source_id,
        title,
        [
            if(action = '1', 'Action', null),
            if(adventure = '1', 'Adventure', null),
            if(animation = '1', 'Animation', null),
            if(children = '1', 'Children''s', null),
            if(comedy = '1', 'Comedy', null),
            if(crime = '1', 'Crime', null),
            if(documentary = '1', 'Documentary', null),
            if(drama = '1', 'Drama', null),
            if(fantasy = '1', 'Fantasy', null),
            if(film_noir = '1', 'Film-Noir', null),
            if(horror = '1', 'Horror', null),
            if(musical = '1', 'Musical', null),
            if(mystery = '1', 'Mystery', null),
            if(romance = '1', 'Romance', null),
            if(sci_fi = '1', 'Sci-Fi', null),
            if(thriller = '1', 'Thriller', null),
            if(war = '1', 'War', null),
            if(western = '1', 'Western', null)
        ] as flagged_genres
    from
        read_csv(
            $path,
            hive_partitioning = false,
            delim = '|',
            header = false,
            auto_detect = false,
            quote = '',
            escape = '',
            encoding = $encoding,
            columns = {
                'item_source_id': 'varchar',
                'title': 'varchar',
                'release_date': 'varchar',
                'video_date': 'varchar',
                'address': 'varchar',
                'unknown': 'varchar',
                'action': 'varchar',
                'adventure': 'varchar',
                'animation': 'varchar',
                'children': 'varchar',
                'comedy': 'varchar',
                'crime': 'varchar',
                'documentary': 'varchar',
                'drama': 'varchar',
                'fantasy': 'varchar',
                'film_noir': 'varchar',
                'horror': 'varchar',
                'musical': 'varchar',
                'mystery': 'varchar',
                'romance': 'varchar',
                'sci_fi': 'varchar',
                'thriller': 'varchar',
                'war': 'varchar',
                'western': 'varchar'
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
        list_filter(flagged_genres, lambda genre: genre is not null) as genres
    from lines
)

select
    item_source_id,
    title,
    release_year,
    genres
from items
