-- Where targets may lie: the last target_length events of a user are for test, those before them
-- for validation, the rest for training. A user who would have nothing left stays in training.
-- Grain: one row per kept user and split: positions first_target <= target < end_target.
-- Parameters: $target_length, events.
-- Reads: kept_users.
with

ends as (
    select
        user_id,
        if(num_events > 2 * $target_length, num_events - 2 * $target_length, num_events)
            as train_end,
        if(num_events > 2 * $target_length, num_events - $target_length, num_events)
            as validation_end,
        num_events as test_end
    from kept_users
)

select
    user_id,
    'train' as split,
    0 as first_target,
    train_end as end_target
from ends
union all
select
    user_id,
    'validation' as split,
    train_end as first_target,
    validation_end as end_target
from ends
union all
select
    user_id,
    'test' as split,
    validation_end as first_target,
    test_end as end_target
from ends
