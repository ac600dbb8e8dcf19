-- Features of the events of a user's table, as text.
-- Grain: one row per row of ratings, whose rowid is source_row; feature_values are in the order of
-- the settings, null where the table has nothing.
-- Parameters: $is_number, whether each feature is one; NaN is missing.
-- Reads: source_ratings, and parsed_ratings, which has the same rows in the same order.
with

texts as (
    select
        source_ratings.rowid as table_row,
        parsed_ratings.event_order,
        source_ratings.feature_texts
    from source_ratings
    inner join parsed_ratings on source_ratings.rowid = parsed_ratings.rowid
),

event_features as (
    select
        row_number() over (order by event_order, table_row) - 1 as source_row,
        list_transform(
            feature_texts,
            lambda feature_text, place: if(
                list_extract($is_number::boolean[], place),
                nullif(try_cast(trim(feature_text) as double)::varchar, 'nan'),
                nullif(trim(feature_text), '')
            )
        ) as feature_values
    from texts
)

select
    source_row,
    feature_values
from event_features
