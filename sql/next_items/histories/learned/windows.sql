-- The rows of all splits; the targets of a training row are 0 at events that are not learned from.
-- Grain: as of windows, one row per row of a split.
-- Reads: windows, targets, sequences, learned_places.
with

-- Materialized, since DuckDB 2.0 may fail on a join whose build side comes from unnest.
learned as materialized (
    select
        user_id,
        place
    from learned_places
),

training as (
    select
        targets.window_id,
        list(
            if(learned.place is null, 0, sequences.item_id)::integer order by sequences.place
        ) as target_ids
    from targets
    inner join sequences
        on
            targets.user_id = sequences.user_id
            and targets.first_target <= sequences.place
            and targets.end_target > sequences.place
    left join learned
        on sequences.user_id = learned.user_id and sequences.place = learned.place
    where targets.split = 'train'
    group by targets.window_id
)

select
    windows.window_id,
    windows.split,
    windows.user_id,
    windows.user_features,
    windows.num_context,
    windows.item_ids,
    windows.ratings,
    windows.times,
    coalesce(training.target_ids, windows.target_ids) as target_ids,
    windows.target_ratings,
    windows.target_times,
    windows.seen_ids
from windows
left join training on windows.window_id = training.window_id
order by windows.window_id
