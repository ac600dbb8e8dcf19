-- The rows of all splits, in order.
-- Grain: one row per chunk of a training history, whose events include its targets, and one per
-- judged user and split, whose events do not; oldest first. seen_ids are the distinct items of all
-- events before the targets, ascending.
-- Reads: sequences, targets, users.
with

whole as (
    select
        user_id,
        list(item_id order by place) as items,
        list(rating order by place) as item_ratings,
        list(event_time order by place) as item_times
    from sequences
    group by user_id
),

windows as (
    select
        targets.window_id,
        targets.split,
        targets.user_id,
        users.user_features,
        targets.first_target - targets.start_place as num_context,
        targets.start_place + 1 as first_event,
        if(targets.split = 'train', targets.end_target, targets.first_target) as last_event,
        targets.first_target,
        targets.end_target,
        whole.items,
        whole.item_ratings,
        whole.item_times
    from targets
    inner join whole on targets.user_id = whole.user_id
    inner join users on targets.user_id = users.user_id
)

select
    window_id,
    split,
    user_id,
    user_features,
    num_context,
    list_slice(items, first_event, last_event) as item_ids,
    list_slice(item_ratings, first_event, last_event) as ratings,
    list_slice(item_times, first_event, last_event) as times,
    list_slice(items, first_target + 1, end_target) as target_ids,
    list_slice(item_ratings, first_target + 1, end_target) as target_ratings,
    list_slice(item_times, first_target + 1, end_target) as target_times,
    if(
        split = 'train',
        []::integer[],
        list_sort(list_distinct(list_slice(items, 1, first_target)))
    ) as seen_ids
from windows
order by window_id
