-- The values of all item features, numbered consecutively: the columns of the one-hot vector.
-- Grain: one row per feature and value; code counts from 0 over all features in their order, and
-- within a feature in the order of the values. Only catalogue items are considered.
-- Parameters: $features, names in order.
-- Reads: item_features, item_keys, catalogue.
with

facts as (
    select distinct
        item_features.feature,
        item_features.feature_value,
        list_position($features::varchar[], item_features.feature) as feature_number
    from item_features
    inner join item_keys on item_features.item_source_id = item_keys.item_source_id
    inner join catalogue on item_keys.item_key = catalogue.item_key
),

item_vocabulary as (
    select
        feature_number,
        feature,
        feature_value,
        (row_number() over (order by feature_number, feature_value) - 1)::integer as code
    from facts
)

select
    feature_number,
    feature,
    feature_value,
    code
from item_vocabulary
order by code
