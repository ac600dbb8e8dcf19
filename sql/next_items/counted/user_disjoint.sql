-- Users assigned to splits before anything else; the catalogue counts training users only.
-- Grain: one row per user of the source; the first num_counted events in order are counted, and
-- split is the split of all of the user's windows.
-- Parameters: $seed; $validation_fraction and $test_fraction, shares of the users, rounded to
-- whole users.
-- Reads: event_users, user_keys.
with

ranked as (
    select
        event_users.user_key,
        event_users.num_events,
        row_number() over (
            order by md5(concat($seed::bigint, ':', user_keys.user_source_id)), event_users.user_key
        ) as lot,
        round(count(*) over () * $validation_fraction) as num_validation,
        round(count(*) over () * $test_fraction) as num_test
    from event_users
    inner join user_keys on event_users.user_key = user_keys.user_key
),

dealt as (
    select
        user_key,
        num_events,
        case
            when lot <= num_validation then 'validation'
            when lot <= num_validation + num_test then 'test'
            else 'train'
        end as split
    from ranked
)

select
    user_key,
    if(split = 'train', num_events, 0) as num_counted,
    split
from dealt
