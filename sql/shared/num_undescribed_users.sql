-- Number of kept users without a value for any user feature.
-- Grain: one row.
-- Reads: kept_users, user_keys, user_features.
with

described as (
    select distinct user_source_id
    from user_features
)

select count(*) as num_users
from kept_users
inner join user_keys on kept_users.user_key = user_keys.user_key
left join described on user_keys.user_source_id = described.user_source_id
where described.user_source_id is null
