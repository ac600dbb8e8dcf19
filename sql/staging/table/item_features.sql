-- Item features of a user's table, in long form.
-- Grain: one row per item, feature and value; empty values are unknown and give no row.
-- Parameters: $features, names in the order of feature_lists.
-- Reads: source_items, which holds the mapped columns, with features as lists of text.
with

columns_of_items as (
    select
        item_source_id,
        unnest($features::varchar[]) as feature,
        unnest(feature_lists) as feature_values
    from source_items
),

facts as (
    select
        item_source_id,
        feature,
        unnest(feature_values) as feature_value
    from columns_of_items
),

item_features as (
    select distinct
        item_source_id,
        feature,
        trim(feature_value) as feature_value
    from facts
    where trim(feature_value) != ''
)

select
    item_source_id,
    feature,
    feature_value
from item_features
