-- topk.claim: first claims, epochs, resuming, statuses, groups, clusters, arguments.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter();
CREATE VIEW progress AS SELECT topic, partition, cluster_id, group_id, member, owner_pid = pg_backend_pid() AS mine, epoch, start_offset, next_offset, watermark FROM topk.kafka_progress ORDER BY topic, partition;

-- Every partition gets a row; of the claimed ones the log's start becomes the first offset.
SELECT * FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 3, '{2,0}', '{7,0}', '{7,100}');
SELECT * FROM progress;
-- Claiming again raises the epoch, whoever claims; a partition not claimed before starts at its log's start still.
SELECT partition, status, epoch, next_offset FROM topk.claim('video_views', 'events', 'cluster', 'group', 'other', 3, '{0,1}', '{5,3}', '{100,3}');
SELECT partition, status, epoch, next_offset FROM topk.claim('video_views', 'events', 'cluster', 'group', 'other', 3, '{0,1}', '{0,3}', '{100,3}');
-- Partitions that appear later start at 0.
SELECT partition, status, epoch, next_offset FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 5, '{3}', '{0}', '{50}');
-- No partition at all is a way to make the rows.
SELECT * FROM topk.claim('video_views', 'second', 'cluster', 'group', 'member', 1, '{}', '{}', '{}');
SELECT * FROM progress;

-- Resuming raises nothing, and takes the epoch and the member to be one's own.
SELECT partition, status, epoch FROM topk.claim('video_views', 'events', 'cluster', 'group', 'other', 5, '{0,1,2}', '{0,0,0}', '{100,100,100}', '{2,1,1}');
SELECT partition, status, epoch FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 5, '{4}', '{0}', '{100}', '{0}');

-- Offsets outside of the log are not claimed.
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 2, 0, 40)]);
SELECT partition, status, epoch, next_offset, last_offset, last_timestamp_ms, last_crc FROM topk.claim('video_views', 'events', 'cluster', 'group', 'new', 5, '{0,1}', '{41,3}', '{100,3}');
SELECT partition, status, epoch, next_offset FROM topk.claim('video_views', 'events', 'cluster', 'group', 'new', 5, '{0}', '{0}', '{39}');
SELECT partition, status, epoch, next_offset FROM topk.claim('video_views', 'events', 'cluster', 'group', 'other', 5, '{0,1}', '{41,0}', '{100,1}', '{2,1}');
SELECT * FROM progress WHERE topic = 'events' AND partition < 2;

-- Another group is refused until it takes the counter over, with all its topics; so is another cluster.
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 5, '{0}', '{0}', '{100}')$$);
SELECT t.error($$SELECT topk.claim('video_views', 'third', 'cluster', 'rival', 'member', 1, '{0}', '{0}', '{100}')$$);
SELECT partition, status, epoch FROM topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 5, '{0}', '{0}', '{100}', take_over => true);
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'group', 'member', 5, '{1}', '{0}', '{100}', '{1}', take_over => true)$$);
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'else', 'rival', 'member', 5, '{0}', '{0}', '{100}')$$);
SELECT * FROM progress;

-- Arguments.
SELECT t.error($$SELECT topk.claim('no such', 'events', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1}')$$);
SELECT t.error($$SELECT topk.claim('video_views', '', 'cluster', 'group', 'member', 1, '{0}', '{0}', '{1}')$$);
SELECT t.error($$SELECT topk.claim('video_views', 'events', NULL, 'group', 'member', 1, '{0}', '{0}', '{1}')$$);
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 0, '{}', '{}', '{}')$$);
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 1, '{1}', '{0}', '{1}')$$);
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 1, '{0,0}', '{0,0}', '{1,1}')$$);
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 1, '{0}', '{0}', '{1,2}')$$);
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 1, '{0}', '{0}', '{1}', '{}')$$);
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 1, '{NULL}', '{0}', '{1}')$$);
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 1, '{0}', '{2}', '{1}')$$);
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 1, NULL, '{0}', '{1}')$$);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 5, '{0}', '{0}', '{100}')$$);
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT t.error($$SELECT topk.claim('video_views', 'events', 'cluster', 'rival', 'member', 5, '{0}', '{0}', '{100}')$$);
ROLLBACK;

DROP VIEW progress;
SELECT topk.drop_counter('video_views');
