-- topk.retire_partition: a partition that Kafka does not have any more leaves the books for the history, and sealing goes on; one that comes back
-- goes on where it was.
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET client_min_messages = warning;
SELECT topk.create_counter(lateness => '0 s');
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 4, '{0,1,2}', '{0,10,0}', '{100,100,100}');
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01 05:00Z', t.entry('a', 3))), NULL, ARRAY[ROW(1, 11, NULL, 'x', NULL, NULL)]::topk.flush_dead[],
    ARRAY[t.advance(0, 1, 0, 2, '2020-01-01 09:30Z'), ROW(1, 1, 10, 13, 12, 1577855700000, 77, '2020-01-01 05:15Z', 1, 0, 1, 1), t.advance(2, 1, 0, 1, '2020-01-01 09:30Z')]::topk.flush_progress[]);
SELECT topk.seal_step('video_views');
CREATE VIEW books AS SELECT partition, cluster_id, group_id, member, owner_pid IS NOT NULL AS owned, epoch, start_offset, next_offset, last_offset, last_crc, watermark, counted, late, dead, skipped, lost FROM topk.kafka_progress ORDER BY 1;
CREATE VIEW history AS SELECT partition, epoch, start_offset, next_offset, reset_to, reason, reset_by = current_user AS by_me, reset_at IS NOT NULL AS dated FROM topk.progress_history ORDER BY partition, epoch;
CREATE VIEW wrong AS SELECT check_name, regexp_replace(subject, ' at .*', ' at …') AS subject, expected, found, detail FROM topk.audit() WHERE NOT ok AND subject IS NOT NULL;

-- Not while somebody reads it. An owner that says nothing for a minute, or is gone, does not.
SELECT t.error($$SELECT topk.retire_partition('video_views', 'events', 1, 'the topic has three partitions now')$$);
UPDATE topk.kafka_progress_data SET flushed_at = now() - interval '2 minutes';
BEGIN; UPDATE topk.kafka_progress_data SET clock_advanced_at = now(); SELECT split_part(t.error($$SELECT topk.retire_partition('video_views', 'events', 1, 'x')$$), E'\n', 1); ROLLBACK;
BEGIN; UPDATE topk.kafka_progress_data SET flushed_at = now(), owner_backend_start = owner_backend_start - interval '1 s'; SELECT t.error($$SELECT topk.retire_partition('video_views', 'events', 1, 'x')$$); ROLLBACK;
-- One that was read, and one that never was: both held the seal back.
SELECT topk.retire_partition('video_views', 'events', 1, 'the topic was made again'), topk.retire_partition('video_views', 'events', 3, 'the topic was made again');
SELECT partition FROM topk.kafka_progress ORDER BY 1;
SELECT partition FROM topk.status();
SELECT * FROM history;
SELECT topk.seal_step('video_views');
SELECT * FROM wrong;
SELECT * FROM topk.audit() WHERE check_name IN ('offsets', 'resets', 'lost offsets', 'dead letters');
-- Its owner is fenced, and the audit would know if it went on elsewhere.
SELECT split_part(t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(1, 1, 13, 14)])$$), E'\n', 1);
SELECT split_part(t.error($$SELECT topk.flush('video_views', 'events', t.deltas(), NULL, NULL, ARRAY[t.advance(0, 1, 2, 3), t.advance(1, 1, 13, 14)])$$), E'\n', 1);
SELECT t.error($$SELECT topk.retire_partition('video_views', 'events', 1, 'again')$$);
BEGIN; UPDATE topk.progress_history_data SET next_offset = next_offset + 1 WHERE partition = 1; SELECT * FROM wrong; ROLLBACK;
BEGIN; DELETE FROM topk.progress_history_data WHERE partition = 1; SELECT * FROM wrong; ROLLBACK;

-- Kafka has it after all: a claim of whatever partitions puts back what it knows of, and holds the seal back again.
BEGIN;
SELECT partition FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 2, '{0}', '{0}', '{100}');
SELECT * FROM books;
SELECT holds_seal_back IS NOT NULL AS holds FROM topk.status() WHERE partition = 1;
ROLLBACK;
-- A resume of who had it: fenced. A claim has an epoch above any before, at the offset where it was, with the fingerprint to tell the log by.
SELECT partition, status FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 4, '{1}', '{10}', '{100}', '{1}');
SELECT partition, status, epoch, next_offset, last_offset, last_timestamp_ms, last_crc, watermark, sealed_through FROM topk.claim('video_views', 'events', 'cluster', 'group', 'member', 4, '{1,3}', '{10,5}', '{100,100}');
SELECT * FROM books;
SELECT * FROM wrong;
-- What it brings to hours that were sealed meanwhile is late, and nothing is counted twice or lost.
SELECT split_part(t.error($$SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01 05:00Z', t.entry('a', 1))), NULL, NULL, ARRAY[t.advance(1, 3, 13, 14)])$$), E'\n', 1);
SELECT topk.flush('video_views', 'events', t.deltas(t.hour('2020-01-01 09:00Z', t.entry('b', 1))), ARRAY[ROW('2020-01-01 05:00Z', 'a', 1, 1)]::topk.flush_late[], NULL,
    ARRAY[ROW(1, 3, 13, 15, 14, 1, 1, '2020-01-01 05:20Z', 1, 1, 0, 0), ROW(3, 2, 5, 6, 5, 1, 1, NULL, 1, 0, 0, 0)]::topk.flush_progress[]);
SELECT topk.seal_step('video_views');
SELECT * FROM topk.hour_book ORDER BY hour_start, partition;
SELECT video_id, views FROM video_views_day ORDER BY 1;
SELECT * FROM wrong;
BEGIN; UPDATE topk.kafka_progress_data SET start_offset = start_offset + 1, next_offset = next_offset + 1 WHERE partition = 1; SELECT * FROM wrong; ROLLBACK;
BEGIN; DELETE FROM topk.progress_history_data WHERE partition = 1; SELECT * FROM wrong; ROLLBACK;
-- Retired twice, and reset in between.
UPDATE topk.kafka_progress_data SET flushed_at = now() - interval '2 minutes';
SELECT topk.retire_partition('video_views', 'events', 1, 'gone again');
SELECT t.error($$SELECT * FROM topk.claim('video_views', 'events', 'other', 'group', 'member', 4, '{1}', '{0}', '{100}')$$);
SELECT topk.reset_progress('video_views', 'events', 1, 0, 'another cluster');
SELECT partition, status, epoch, next_offset FROM topk.claim('video_views', 'events', 'other', 'group', 'member', 4, '{1}', '{0}', '{100}');
SELECT topk.retire_partition('video_views', 'events', 1, 'and again');
SELECT * FROM history;
SELECT * FROM wrong;
SELECT t.error($$SELECT topk.reset_progress('video_views', 'events', 7, 0, 'there never was one')$$);

-- A whole topic. Nothing is sealed where nobody reads; when it is made again, its partitions are those that were, and new ones begin at 0.
UPDATE topk.kafka_progress_data SET flushed_at = NULL, clock_advanced_at = NULL;
SELECT topk.retire_partition(counter, topic, partition, 'nobody needs it') FROM topk.kafka_progress WHERE topic = 'events';
SELECT count(*) FROM topk.kafka_progress;
SELECT topk.seal_step('video_views') = sealed_through AS stays FROM topk.counter;
SELECT * FROM wrong;
SELECT partition, status, epoch, next_offset FROM topk.claim('video_views', 'events', 'cluster', 'new group', 'member', 5, '{0,2,4}', '{0,0,3}', '{1,100,100}');
SELECT topk.reset_progress('video_views', 'events', 0, 0, 'made again');
SELECT partition, status, epoch, next_offset FROM topk.claim('video_views', 'events', 'cluster', 'new group', 'member', 5, '{0}', '{0}', '{1}');
SELECT * FROM wrong;

-- 'admin', and no less; 42704, 22023.
CREATE ROLE regress_retire_admin; CREATE ROLE regress_retire_ingest;
SELECT topk.grant_access('regress_retire_admin', 'admin'), topk.grant_access('regress_retire_ingest', 'ingest'), topk.grant_access('regress_retire_ingest', 'read');
SET ROLE regress_retire_ingest;
SELECT t.error($$SELECT topk.retire_partition('video_views', 'events', 4, 'x')$$);
SET ROLE regress_retire_admin;
SELECT topk.retire_partition('video_views', 'events', 4, 'by an admin');
RESET ROLE;
SELECT reset_by FROM topk.progress_history WHERE partition = 4;
SELECT t.error($$SELECT topk.retire_partition('no such', 'events', 0, 'x')$$);
SELECT t.error($$SELECT topk.retire_partition('video_views', 'no such', 0, 'x')$$);
SELECT t.error($$SELECT topk.retire_partition('video_views', 'events', NULL, 'x')$$);
SELECT t.error($$SELECT topk.retire_partition('video_views', 'events', 0, '')$$);
SELECT t.error($$SELECT topk.retire_partition('video_views', 'events', 0, NULL)$$);

-- The old library, which sessions may have loaded, would read a partition that came back anew.
SELECT p.oid::regproc AS function, p.prosrc FROM pg_proc p WHERE p.pronamespace = 'topk'::regnamespace AND p.prosrc LIKE '%\_1\_2' ORDER BY p.oid::regproc::text COLLATE "C";
DROP VIEW books, history, wrong;
SELECT topk.drop_counter('video_views');
SELECT count(*) FROM topk.progress_history_data;
DROP ROLE regress_retire_admin, regress_retire_ingest;
