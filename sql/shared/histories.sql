-- The input of recommendations: the latest events of a block of users, and all items seen.
-- Grain: one row per kept user, by user_id; the lists of latest events are oldest first,
-- left-padded with 0 to the input length.
-- Parameters: $input_length, events; $first_user, $last_user.
-- Reads: sequences, kept_users, users.
with

events as (
    select
        user_id,
        place,
        item_id,
        rating,
        event_time
    from sequences
    where user_id between $first_user and $last_user
),

latest as (
    select
        events.user_id,
        list(events.item_id order by events.place) as item_ids,
        list(events.rating order by events.place) as ratings,
        list(events.event_time order by events.place) as times
    from events
    inner join kept_users on events.user_id = kept_users.user_id
    where
        events.place >= kept_users.num_events - $input_length
        and kept_users.user_id between $first_user and $last_user
    group by events.user_id
),

seen as (
    select
        user_id,
        list_sort(list_distinct(list(item_id))) as seen_ids
    from events
    group by user_id
),

histories as (
    select
        users.user_id,
        users.user_features,
        list_concat(
            list_resize([]::integer[], ($input_length - len(latest.item_ids))::integer, 0),
            latest.item_ids
        ) as item_ids,
        list_concat(
            list_resize([]::float[], ($input_length - len(latest.ratings))::integer, 0),
            latest.ratings
        ) as ratings,
        list_concat(
            list_resize([]::bigint[], ($input_length - len(latest.times))::integer, 0),
            latest.times
        ) as times,
        seen.seen_ids
    from users
    inner join latest on users.user_id = latest.user_id
    inner join seen on users.user_id = seen.user_id
    where users.user_id between $first_user and $last_user
)

select
    user_id,
    user_features,
    item_ids,
    ratings,
    times,
    seen_ids
from histories
order by user_id
