-- The values of the user features, numbered.
-- Grain: one row per feature and value; code counts from 1 within the feature in the order of the
-- values. Only users whose events the catalogue may count are considered, so that under
-- user_disjoint a value that no training user has is unknown.
-- Parameters: $features, names in order.
-- Reads: user_features, user_keys, kept_users.
with

facts as (
    select distinct
        user_features.feature,
        user_features.feature_value
    from user_features
    inner join user_keys on user_features.user_source_id = user_keys.user_source_id
    inner join kept_users on user_keys.user_key = kept_users.user_key
    where coalesce(kept_users.split, 'train') = 'train'
),

user_vocabulary as (
    select
        list_position($features::varchar[], feature) as feature_number,
        feature,
        feature_value,
        (row_number() over (partition by feature order by feature_value))::integer as code
    from facts
)

select
    feature_number,
    feature,
    feature_value,
    code
from user_vocabulary
order by feature_number, code
