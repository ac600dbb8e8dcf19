-- Features of the events of a user's table, as text: numbers as the shortest text that gives them.
-- Grain: one row per row of ratings, whose rowid is source_row; feature_values are in the order of
-- the settings, null where the table has nothing.
-- Parameters: $is_number, whether each feature is one; NaN is nothing.
-- Reads: source_ratings, and parsed_ratings, which has the same rows in the same order.
with

ordered as (
    select
        parsed_ratings.event_order,
        source_ratings.feature_texts,
        source_ratings.rowid as table_row
    from source_ratings
    inner join parsed_ratings on source_ratings.rowid = parsed_ratings.rowid
),

texts as (
    select
        event_order,
        table_row,
        list_transform(
            list_zip(feature_texts, $is_number::boolean[]),
            lambda fact: if(
                fact[2],
                nullif(try_cast(trim(fact[1]) as double)::varchar, 'nan'),
                nullif(trim(fact[1]), '')
            )
        ) as feature_values
    from ordered
)

select
    feature_values,
    row_number() over (order by event_order, table_row) - 1 as source_row
from texts
