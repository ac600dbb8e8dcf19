-- Items of a user's table.
-- Grain: one row per row of the item table. A feature named genres also fills the column genres.
-- Parameters: $features, names in the order of feature_lists.
-- Reads: source_items, which holds the mapped columns, with features as lists of text.
with

items as (
    select
        item_source_id,
        title,
        null::integer as release_year,
        list_filter(
            list_transform(
                feature_lists[list_position($features::varchar[], 'genres')],
                lambda genre: trim(genre)
            ),
            lambda genre: genre != ''
        ) as genres
    from source_items
)

select
    item_source_id,
    title,
    release_year,
    coalesce(genres, []::varchar[]) as genres
from items
