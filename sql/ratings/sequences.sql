-- The users' ratings, in order.
-- Grain: one row per rating. place counts all ratings of the user from 0; num_before is the number
-- of the user's training ratings before this one, which for a training rating is its position among
-- them. window_id counts from 0 in the order of (user_id, place).
-- Reads: dealt, catalogue, kept_users.
with

numbered as (
    select
        kept_users.user_id,
        catalogue.item_id,
        dealt.event_time,
        dealt.rating,
        dealt.split,
        dealt.raw_place as place
    from dealt
    inner join catalogue on dealt.item_key = catalogue.item_key
    inner join kept_users on dealt.user_key = kept_users.user_key
),

sequences as (
    select
        user_id,
        place,
        item_id,
        event_time,
        rating,
        split,
        row_number() over (order by user_id, place) - 1 as window_id,
        (
            sum(if(split = 'train', 1, 0)) over upto - if(split = 'train', 1, 0)
        )::integer as num_before
    from numbered
    window
        upto as (
            partition by user_id
            order by place
            rows between unbounded preceding and current row
        )
)

select
    window_id,
    user_id,
    place,
    num_before,
    item_id,
    event_time,
    rating,
    split
from sequences
order by window_id
