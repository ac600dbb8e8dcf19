-- Features of MovieLens movies, for all formats.
-- Grain: one row per movie and value: its genres, and the decade of its year as '1990s'.
-- Reads: items.
with

genres as (
    select
        item_source_id,
        'genres' as feature,
        unnest(genres) as feature_value
    from items
),

decades as (
    select
        item_source_id,
        'decade' as feature,
        concat(release_year // 10 * 10, 's') as feature_value
    from items
    where release_year is not null
),

movie_features as (
    select
        item_source_id,
        feature,
        feature_value
    from genres
    union all
    select
        item_source_id,
        feature,
        feature_value
    from decades
)

select
    item_source_id,
    feature,
    feature_value
from movie_features
