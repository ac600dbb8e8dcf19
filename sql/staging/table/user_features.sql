-- User features of a user's table, in long form.
-- Grain: one row per user, feature and value; empty values are unknown and give no row.
-- Parameters: $features, names in the order of feature_lists.
-- Reads: source_users, which holds the mapped columns, with features as lists of text.
with

columns_of_users as (
    select
        user_source_id,
        unnest($features::varchar[]) as feature,
        unnest(feature_lists) as feature_values
    from source_users
),

facts as (
    select
        user_source_id,
        feature,
        unnest(feature_values) as feature_value
    from columns_of_users
),

user_features as (
    select
        user_source_id,
        feature,
        trim(feature_value) as feature_value
    from facts
    where trim(feature_value) != ''
)

select
    user_source_id,
    feature,
    feature_value
from user_features
