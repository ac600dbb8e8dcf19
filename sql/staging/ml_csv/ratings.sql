-- Ratings of MovieLens 20M, 25M, 32M and latest, in the order of the file.
-- Grain: one row per line of ratings.csv after its header `userId,movieId,rating,timestamp`.
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
        delim = ',',
        header = true,
        auto_detect = false,
        columns = {
            'user_source_id': 'varchar',
            'item_source_id': 'varchar',
            'rating': 'double',
            'event_time': 'bigint'
        },
        store_rejects = true,
        rejects_limit = 100
    )
