-- Positions where targets may be: training before the first cut, test from the second on.
-- Grain: one row per kept user and split: positions first_target <= target < end_target.
-- Reads: sequences, cuts.
with

ends as (
    select
        sequences.user_id,
        count(*) filter (where sequences.event_time < cuts.validation_from) as train_end,
        count(*) filter (where sequences.event_time < cuts.test_from) as validation_end,
        count(*) as test_end
    from sequences
    cross join cuts
    group by sequences.user_id
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
