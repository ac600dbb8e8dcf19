-- The first value of a numeric feature of events that is no finite number; NaN is a missing one.
-- Grain: one row; passes by returning no rows.
-- Parameters: $features, names in the order of feature_texts; $numbers, those that are numeric.
-- Reads: source_ratings.
with

facts as (
    select
        rowid + 1 as row_number,
        unnest($features::varchar[]) as feature,
        trim(unnest(feature_texts)) as feature_value
    from source_ratings
),

numbers as (
    select
        row_number,
        feature,
        feature_value,
        try_cast(feature_value as double) as number
    from facts
    where
        list_contains($numbers::varchar[], feature)
        and feature_value != ''
)

select
    row_number,
    feature,
    feature_value
from numbers
where number is null or isinf(number)
order by row_number, feature
limit 1
