-- Every event of a training range is a target of exactly one chunk, but for each user's first
-- event, which nothing precedes.
-- Grain: one row per event that is not; the check passes by returning no rows.
-- Reads: ranges, targets.
with

-- Materialized, since DuckDB 2.0 may fail on a join whose build side comes from unnest.
wanted as materialized (
    select
        user_id,
        unnest(range(1, end_target)) as place
    from ranges
    where split = 'train'
),

found as (
    select
        user_id,
        unnest(range(first_target, end_target)) as place
    from targets
    where split = 'train'
),

counted as (
    select
        user_id,
        place,
        count(*) as num_targets
    from found
    group by user_id, place
)

select
    coalesce(wanted.user_id, counted.user_id) as user_id,
    coalesce(wanted.place, counted.place) as place,
    counted.num_targets
from wanted
full join counted on wanted.user_id = counted.user_id and wanted.place = counted.place
where wanted.user_id is null or counted.num_targets is distinct from 1
