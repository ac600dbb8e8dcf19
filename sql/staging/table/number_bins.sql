-- Numeric features of a user's table as ranges with about as many values in each.
-- Grain: one row per kind of feature (user, item), feature and number as it was written; bin names
-- the range by its lowest and highest number. Equal numbers are in one range. What is no number has
-- no range.
-- Parameters: $user_numbers, $item_numbers, names of features; $bins, ranges of each at most.
-- Reads: user_features, item_features.
with

facts as (
    select
        'user' as kind,
        feature,
        feature_value
    from user_features
    where list_contains($user_numbers::varchar[], feature)
    union all
    select
        'item' as kind,
        feature,
        feature_value
    from item_features
    where list_contains($item_numbers::varchar[], feature)
),

numbers as (
    select
        kind,
        feature,
        feature_value,
        try_cast(feature_value as double) as number,
        count(*) as num_rows
    from facts
    group by kind, feature, feature_value
),

ranked as (
    select
        kind,
        feature,
        feature_value,
        number,
        sum(num_rows) over (partition by kind, feature order by number) as num_until,
        sum(num_rows) over (partition by kind, feature, number) as num_equal,
        sum(num_rows) over (partition by kind, feature) as num_all
    from numbers
    where isfinite(number)
),

placed as (
    select
        kind,
        feature,
        feature_value,
        number,
        (num_until - num_equal) * $bins // num_all as place
    from ranked
),

ranges as (
    select
        kind,
        feature,
        feature_value,
        min(number) over (partition by kind, feature, place) as lowest,
        max(number) over (partition by kind, feature, place) as highest
    from placed
),

number_bins as (
    select
        numbers.kind,
        numbers.feature,
        numbers.feature_value,
        case
            when ranges.lowest = ranges.highest then ranges.lowest::varchar
            when ranges.lowest < ranges.highest then concat(ranges.lowest, ' to ', ranges.highest)
        end as bin
    from numbers
    left join ranges
        on
            numbers.kind = ranges.kind
            and numbers.feature = ranges.feature
            and numbers.feature_value = ranges.feature_value
)

select
    kind,
    feature,
    feature_value,
    bin
from number_bins
