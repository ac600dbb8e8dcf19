-- Ratings of MovieLens 1M and 10M, in the order of the file.
-- Grain: one row per line of ratings.dat, `user::item::rating::seconds`.
-- Parameters: $path, the file.
-- Lines that do not parse are skipped and reported by checks/rejected_lines.sql.
select
    user_source_id,
    item_source_id,
    event_time,
    rating
from
    read_csv(
        $path,
        hive_partitioning = false,
        delim = '::',
        header = false,
        auto_detect = false,
        quote = '',
        escape = '',
        columns = {
            'user_source_id': 'varchar',
            'item_source_id': 'varchar',
            'rating': 'double',
            'event_time': 'bigint'
        },
        store_rejects = true,
        rejects_limit = 100
    )
