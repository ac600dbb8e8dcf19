-- Every event of a training range is a target of exactly one chunk, but for each user's first
-- event, which nothing precedes.
-- Grain: one row per run of consecutive events for which that is wrong, with its first place; the
-- check passes by returning no rows.
-- Reads: ranges, targets.
with

-- Where chunks and ranges begin and end.
marks as (
    select
        user_id,
        unnest([first_target, end_target]) as place,
        unnest([1, -1]) as num_targets,
        0 as num_wanted
    from targets
    where split = 'train'
    union all
    select
        user_id,
        unnest([1, end_target]) as place,
        0 as num_targets,
        unnest([1, -1]) as num_wanted
    from ranges
    where split = 'train' and end_target > 1
),

changes as (
    select
        user_id,
        place,
        sum(num_targets) as num_targets,
        sum(num_wanted) as num_wanted
    from marks
    group by user_id, place
),

runs as (
    select
        user_id,
        place,
        sum(num_targets) over following as num_targets,
        sum(num_wanted) over following as num_wanted
    from changes
    window following as (partition by user_id order by place)
)

select
    user_id,
    place,
    nullif(num_targets, 0)::bigint as num_targets
from runs
where num_targets != num_wanted
