-- The user table.
-- Grain: one row per kept user, by user_id; user_features holds one code per feature, 0 if the
-- value is unknown.
-- Parameters: $features, names in order.
-- Reads: kept_users, user_keys, user_features, user_vocabulary.
with

facts as (
    select
        kept_users.user_id,
        list(user_vocabulary.code) as codes,
        list(user_vocabulary.feature) as feature_names
    from kept_users
    inner join user_keys on kept_users.user_key = user_keys.user_key
    inner join user_features on user_keys.user_source_id = user_features.user_source_id
    inner join user_vocabulary
        on
            user_features.feature = user_vocabulary.feature
            and user_features.feature_value = user_vocabulary.feature_value
    group by kept_users.user_id
),

described as (
    select
        kept_users.user_id,
        user_keys.user_source_id as source_id,
        kept_users.num_events,
        facts.codes,
        facts.feature_names
    from kept_users
    inner join user_keys on kept_users.user_key = user_keys.user_key
    left join facts on kept_users.user_id = facts.user_id
),

users as (
    select
        user_id,
        source_id,
        num_events,
        list_transform(
            $features::varchar[],
            lambda feature: coalesce(codes[list_position(feature_names, feature)], 0)
        )::integer[] as user_features
    from described
)

select
    user_id,
    source_id,
    num_events,
    user_features
from users
order by user_id
