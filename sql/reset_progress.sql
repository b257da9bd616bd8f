-- topk.reset_progress and topk.status: offsets given up, on the record; and who has what.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter();
SELECT partition, epoch FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 2, '{0}', '{10}', '{100}');
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 10, 30, '2020-01-01Z')]);
CREATE VIEW books AS SELECT partition, cluster_id, group_id, member, owner_pid IS NOT NULL AS owned, epoch, start_offset, next_offset, last_offset, last_crc, watermark, counted, late, dead, skipped, lost,
    next_offset - start_offset = counted + late + dead + skipped + lost AS balanced FROM topk.kafka_progress ORDER BY 1;
SELECT topic, partition, group_id, member, owner_pid = pg_backend_pid() AS mine, owner_alive, epoch, start_offset, next_offset, counted, late, dead, skipped, lost, watermark, flushed_at IS NOT NULL AS flushed FROM topk.status();

-- Forward: what lies between is lost. The owner is fenced, any cluster may come.
SELECT topk.reset_progress('video_views', 'events', 0, 50, 'retention overtook us');
SELECT * FROM books;
SELECT split_part(t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 30, 31)])$$), E'\n', 1);
SELECT split_part(t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 2, 50, 51)])$$), E'\n', 1);
SELECT partition, status, epoch, next_offset FROM topk.claim('video_views', 'events', 'new cluster', 'group', 'member', 2, '{0}', '{50}', '{100}');
SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 3, 50, 60)]);
SELECT * FROM books WHERE partition = 0 AND balanced;
-- Back: the topic was made again. And of a partition never claimed.
SELECT topk.reset_progress('video_views', 'events', 0, 0, 'topic made again');
SELECT topk.reset_progress('video_views', 'events', 1, 5, 'skip the test data');
SELECT * FROM books;
SELECT partition, cluster_id, epoch, start_offset, next_offset, counted, lost, reset_to, reason, reset_by = current_user AS by_me, reset_at IS NOT NULL AS dated FROM topk.progress_history ORDER BY reset_at;

-- An owner that is gone is not alive.
SELECT partition, status FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 2, '{0}', '{0}', '{100}');
UPDATE topk.kafka_progress_data SET owner_backend_start = owner_backend_start - interval '1 s' WHERE partition = 0;
SELECT partition, owner_alive FROM topk.status();

SELECT t.error($$SELECT topk.reset_progress('video_views', 'events', 2, 0, 'x')$$);
SELECT t.error($$SELECT topk.reset_progress('video_views', 'events', 0, -1, 'x')$$);
SELECT t.error($$SELECT topk.reset_progress('video_views', 'events', 0, NULL, 'x')$$);
SELECT t.error($$SELECT topk.reset_progress('video_views', 'events', 0, 0, '')$$);
SELECT t.error($$SELECT topk.reset_progress('no such', 'events', 0, 0, 'x')$$);
SELECT t.error($$SELECT topk.status('no such')$$);
SELECT topk.version() = extversion AS same_version FROM pg_extension WHERE extname = 'topk';
DROP VIEW books;
SELECT topk.drop_counter('video_views');
